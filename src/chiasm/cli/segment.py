"""``chiasm segment``: label maps of scans of the modality a segmenter knows."""

from __future__ import annotations

from typing import Any

from chiasm.cli import options as o
from chiasm.registry import DEFAULT_SEGMENTER


def command(
    input: o.Inputs,
    output: o.Output,
    segmenter: o.SegmenterName = DEFAULT_SEGMENTER,
    mask: o.Mask = None,
    batch: o.Batch = 8,
    spacing: o.Spacing = None,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    report: o.Report = None,
) -> int:
    """Segment scans of the segmenter's modality, on their own grid."""
    from chiasm import api, files
    from chiasm.cli import cases
    from chiasm.device import check_device

    check_device(device)
    cases.set_threads(threads)
    files.check_spacing(spacing)
    chosen = api.load_segmenter(segmenter, batch=batch, device=device)
    config = chosen.model.config
    planned, errors = cases.plan(input, output, ["dseg"])
    cases.read_weights(chosen.model)

    def work(case: cases.Case) -> dict[str, Any]:
        volume = files.read(case.source, spacing=spacing)
        inside = api.as_mask(mask, volume)
        cases.warn_unstripped(volume, inside, config.brain_only, case.source)
        result = chosen.segment(volume, inside)
        files.write(result.labels, case.outputs[0], overwrite=overwrite, like=case.source)
        return result.record

    settings = {"segmenter": chosen.model.name, "batch": batch, "device": device}
    return cases.run_cases(
        planned, errors, work, overwrite=overwrite, report=report, settings=settings
    )
