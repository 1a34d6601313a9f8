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
) -> int:
    """Segment scans of the segmenter's modality, on their own grid."""
    from chiasm.cli.shared import Cohort, process
    from chiasm.cohort.recipe import Recipe
    from chiasm.machine.device import Resources

    recipe = Recipe(
        translate=False,
        segmenter=segmenter,
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
