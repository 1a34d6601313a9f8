"""``chiasm segment``: segment scans of the modality that a segmenter needs."""

from __future__ import annotations

from chiasm.cli import options as o
from chiasm.registry import DEFAULT_SEGMENTER


def command(
    input: o.Inputs,
    output: o.Output,
    segmenter: o.SegmenterName = DEFAULT_SEGMENTER,
    modality: o.Modality = None,
    mask: o.Mask = None,
    extract: o.Extract = None,
    batch: o.Batch = 8,
    spacing: o.Spacing = None,
    interpolate: o.Interpolate = False,
    format: o.Format = None,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    report: o.Report = None,
) -> int:
    """Segment scans of the segmenter's modality, on their own grid."""
    from chiasm.cli.shared import load_extractor, process, set_threads
    from chiasm.machine.device import Resources
    from chiasm.pipeline import Pipeline
    from chiasm.segmenters.load import load_segmenter

    resources = Resources(batch=batch, device=device)
    set_threads(threads)
    extractor = load_extractor(extract, mask, resources)
    return process(
        [Pipeline(segmenter=load_segmenter(segmenter, resources), extractor=extractor)],
        input,
        output,
        [["dseg"]],
        modality=modality,
        mask=mask,
        spacing=spacing,
        interpolate=interpolate,
        form=format,
        overwrite=overwrite,
        report=report,
        settings={"batch": batch, "device": device, "threads": threads},
    )
