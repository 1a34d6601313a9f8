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
    """Translate scans into the target modality, on their own grid."""
    from chiasm.cli.shared import Cohort, process
    from chiasm.cohort.recipe import Recipe
    from chiasm.errors import UsageError, explain
    from chiasm.image.modality import modality_name
    from chiasm.machine.device import Resources

    targets = [None] if to is None else to.split(",")
    if to is not None and len({modality_name(one, "--to") for one in to.split(",")}) < len(targets):
        raise UsageError(explain("--to", to, "names a target twice", "each target once"))
    recipe = Recipe(
        model=model,
        method=method,
        targets=tuple(targets),
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
