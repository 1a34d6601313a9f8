"""``chiasm run``: translate, then segment; the main job in one command."""

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
    """Translate scans, then segment the translations: a `_T1w` and a `_dseg` for each."""
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
    translator = api.load_translator(model, method, to, **chosen)
    judge = api.load_segmenter(segmenter, batch=batch, device=device)
    api.check_pair(translator, judge)
    config = translator.model.config
    suffixes = [config.target, "dseg"]
    planned, errors = cases.plan(
        input,
        output,
        suffixes,
        leave_out=config.target,
        folder=True,
        deviation=samples > 1,
    )
    cases.read_weights(judge.model)
    if translator.runs:
        cases.read_weights(translator.model)

    def work(case: cases.Case) -> dict[str, Any]:
        volume = files.read(case.source, modality=source_modality, spacing=spacing)
        inside = api.as_mask(mask, volume)
        inside = head_mask(volume) if inside is None else inside
        cases.warn_unstripped(volume, inside, config.brain_only, case.source)
        judged = cases.judge_source(translator, volume, inside, case.source)
        result = translator.translate(volume, inside)
        labels = judge.segment(result.volume, inside, volume)
        found = (result.volume, labels.labels, result.deviation)
        made = [image for image in found if image is not None]
        for image, path in zip(made, case.outputs, strict=True):
            files.write(image, path, overwrite=overwrite, synthetic=True, like=case.source)
        return judged | {"translation": result.record, "segmentation": labels.record}

    settings = {
        "model": translator.model.name,
        "method": method or config.method,
        "segmenter": judge.model.name,
        **chosen,
    }
    return cases.run_cases(
        planned, errors, work, overwrite=overwrite, report=report, settings=settings
    )
