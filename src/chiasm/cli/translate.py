"""``chiasm translate``: translate scans of any modality into the target modality of a model."""

from __future__ import annotations

from typing import Any

from chiasm.cli import options as o


def command(
    input: o.Inputs,
    output: o.Output,
    model: o.ModelName = None,
    method: o.Method = None,
    to: o.Targets = None,
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
    """Translate scans into the target modality, on their own grid."""
    from chiasm.cli.shared import load_extractor, process, set_threads
    from chiasm.errors import UsageError, explain
    from chiasm.image.modality import modality_name
    from chiasm.machine.device import Resources
    from chiasm.methods.load import load_translator
    from chiasm.pipeline import Pipeline

    resources = Resources(batch=batch, device=device)
    set_threads(threads)
    targets = [None] if to is None else to.split(",")
    if to is not None and len({modality_name(one, "--to") for one in to.split(",")}) < len(targets):
        raise UsageError(explain("--to", to, "names a target twice", "each target once"))
    first = load_translator(model, method, targets[0], resources=resources, **options)
    translators = [first, *(first.towards(name or "") for name in targets[1:])]
    extractor = load_extractor(extract, mask, resources)
    return process(
        [Pipeline(one, extractor=extractor, check_translatability=True) for one in translators],
        input,
        output,
        [[one.model.config.target] for one in translators],
        modality=modality,
        mask=mask,
        spacing=spacing,
        interpolate=interpolate,
        form=format,
        overwrite=overwrite,
        report=report,
        settings={"batch": batch, "device": device, "threads": threads},
        folder=len(translators) > 1,
    )
