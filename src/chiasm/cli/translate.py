"""``chiasm translate``: scans of any modality into the one a model makes."""

from __future__ import annotations

from pathlib import Path
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
    steps: o.Steps = None,
    scheduler: o.Scheduler = None,
    guidance: o.Guidance = None,
    start: o.Start = None,
    noise: o.Noise = "slice",
    planes: o.Planes = None,
    steering: o.Steering = None,
    detail: o.Detail = None,
    seed: o.Seed = 0,
    samples: o.Samples = 1,
    batch: o.Batch = 8,
    spacing: o.Spacing = None,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    report: o.Report = None,
) -> int:
    """Translate scans into the target modality, on their own grid."""
    from chiasm import api, files
    from chiasm.cli import cases
    from chiasm.device import check_device
    from chiasm.head import head_mask

    check_device(device)
    cases.set_threads(threads)
    files.check_spacing(spacing)
    source_modality = cases.check_modality(modality)
    chosen: dict[str, Any] = {
        "steps": steps,
        "scheduler": scheduler,
        "guidance": guidance,
        "start": start,
        "noise": noise,
        "planes": planes,
        "steering": steering,
        "detail": detail,
        "seed": seed,
        "samples": samples,
        "batch": batch,
        "device": device,
    }
    wanted = [None] if to is None else to.split(",")
    first = api.load_translator(model, method, wanted[0], **chosen)
    config = first.model.config
    planned: list[cases.Case] = []
    translators: dict[tuple[Path, ...], Any] = {}
    for one in [first, *(first.towards(name or "") for name in wanted[1:])]:
        target = one.model.config.target
        found, errors = cases.plan(
            input,
            output,
            [target],
            leave_out=target,
            folder=len(wanted) > 1,
            deviation=samples > 1,
        )
        planned += found
        translators |= {case.outputs: one for case in found}
    if first.runs:
        cases.read_weights(first.model)

    def work(case: cases.Case) -> dict[str, Any]:
        translator = translators[case.outputs]
        volume = files.read(case.source, modality=source_modality, spacing=spacing)
        inside = api.as_mask(mask, volume)
        inside = head_mask(volume) if inside is None else inside
        cases.warn_unstripped(volume, inside, config.brain_only, case.source)
        judged = cases.judge_source(translator, volume, inside, case.source)
        result = translator.translate(volume, inside)
        made = [image for image in (result.volume, result.deviation) if image is not None]
        for image, path in zip(made, case.outputs, strict=True):
            files.write(image, path, overwrite=overwrite, synthetic=True, like=case.source)
        return judged | result.record

    settings = {"model": first.model.name, "method": method or config.method, **chosen}
    return cases.run_cases(
        planned, errors, work, overwrite=overwrite, report=report, settings=settings
    )
