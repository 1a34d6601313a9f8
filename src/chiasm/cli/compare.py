"""``chiasm compare``: the table of methods for one's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o
from chiasm.registry import DEFAULT_SEGMENTER


def command(
    input: Annotated[
        Path,
        typer.Option("--input", "-i", help="Subjects with the target modality and others."),
    ],
    output: o.Folder,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: METHOD, NAME=FOLDER or NAME=FOLDER:METHOD, each with "
            "@option=value after it, e.g. none,sdedit@0.25,lmi-diffusion@steps=8,mine=runs/x.",
            show_default="all that a shipped model suits",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Target modality.", show_default="the segmenter's")
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(help="Comma-separated modalities.", show_default="all that are there"),
    ] = None,
    segmenter: o.SegmenterName = DEFAULT_SEGMENTER,
    slices: Annotated[
        int | None,
        typer.Option(help="Evenly spaced axial slices of the head.", show_default="all"),
    ] = None,
    seed: o.Seed = 0,
    batch: o.Batch = 8,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew; else an earlier run is gone on with.")
    ] = False,
) -> int:
    """Compare methods on your own subjects: scores, intervals, tests, costs and pictures."""
    from chiasm.cli.cases import set_threads
    from chiasm.device import check_device

    check_device(device)
    set_threads(threads)
    from chiasm.evaluation.compare import compare
    from chiasm.report.comparison import print_tables

    result = compare(
        input,
        output,
        methods=_names(methods),
        target=target,
        sources=None if sources is None else _names(sources),
        segmenter=segmenter,
        slices=slices,
        seed=seed,
        batch=batch,
        device=device,
        overwrite=overwrite,
    )
    print_tables(result)
    print(f"see {output / 'report.html'}")
    return 1 if result["failed"] else 0


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
