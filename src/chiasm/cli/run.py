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
    anonymize: o.Anonymize = False,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    shard: o.Shard = None,
    executor: o.Executor = "local",
    workers: o.Workers = None,
    reports: o.Reports = None,
    participants: o.Participants = None,
    sessions: o.Sessions = None,
    *,
    options: dict[str, Any],
) -> int:
    """Translate scans and segment the translations.

    The outputs of each scan are the translated scan and a label map (_dseg) with its table.
    """
    from chiasm.cli.shared import Cohort, process
    from chiasm.cohort.recipe import Recipe
    from chiasm.machine.device import Resources

    recipe = Recipe(
        segmenter=segmenter,
        model=model,
        method=method,
        targets=(to,),
        options=options,
        extract=extract,
        resources=Resources(batch=batch, device=device),
        threads=threads,
    )
    return process(
        recipe,
        input,
        output,
        Cohort(
            overwrite,
            resume,
            shard,
            executor,
            workers,
            reports or (),
            participants or (),
            sessions or (),
        ),
        modality=modality,
        mask=mask,
        spacing=spacing,
        interpolate=interpolate,
        form=format,
        anonymous=anonymize,
    )
