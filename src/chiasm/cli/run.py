"""``chiasm run``: translate scans and segment the translations."""

from __future__ import annotations

from typing import Any

from chiasm.cli import options as o
from chiasm.registry import DEFAULT_SEGMENTER


def command(
    input: o.Inputs,
    output: o.Folder,
    model: o.ModelName = None,
    segmenter: o.SegmenterName = DEFAULT_SEGMENTER,
    method: o.Method = None,
    to: o.To = None,
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
    *,
    options: dict[str, Any],
) -> int:
    """Translate scans and segment the translations.

    The outputs of each scan are the translated scan and a label map (_dseg) with its table.
    """
    from chiasm.cli.shared import load_extractor, process, set_threads
    from chiasm.machine.device import Resources
    from chiasm.methods.load import load_translator
    from chiasm.pipeline import Pipeline
    from chiasm.segmenters.load import load_segmenter

    resources = Resources(batch=batch, device=device)
    set_threads(threads)
    translator = load_translator(model, method, to, resources=resources, **options)
    pipeline = Pipeline(
        translator,
        load_segmenter(segmenter, resources),
        extractor=load_extractor(extract, mask, resources),
        check_translatability=True,
    )
    return process(
        [pipeline],
        input,
        output,
        [[translator.model.config.target, "dseg"]],
        modality=modality,
        mask=mask,
        spacing=spacing,
        interpolate=interpolate,
        form=format,
        overwrite=overwrite,
        report=report,
        settings={"batch": batch, "device": device, "threads": threads},
        folder=True,
    )
