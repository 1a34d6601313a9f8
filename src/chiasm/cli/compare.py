"""``chiasm compare``: compare methods on one's own subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o
from chiasm.machine.terminal import say
from chiasm.registry import DEFAULT_SEGMENTER


def command(
    input: Annotated[
        Path,
        typer.Option(
            "--input",
            "-i",
            help="A folder of subjects with images of the target modality and of others, such as a "
            "BIDS dataset.",
        ),
    ],
    output: o.Folder,
    methods: Annotated[
        str | None,
        typer.Option(
            help="The methods with commas between them. Each is METHOD, NAME=FOLDER or "
            "NAME=FOLDER:METHOD. Its options follow as @option=value. An example is "
            "none,sdedit@edit_from=0.25,lmi-diffusion@steps=8,mine=runs/x.",
            show_default="all methods that can use a shipped model or need none",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The target modality.", show_default="the segmenter's")
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(
            help="The source modalities with commas between them.",
            show_default="all that the folder holds",
        ),
    ] = None,
    segmenter: o.SegmenterName = DEFAULT_SEGMENTER,
    slices: Annotated[
        int | None,
        typer.Option(
            help="The number of evenly spaced axial slices of the foreground that are compared, at "
            "least 1. A method that looks at neighbouring slices translates the complete scan.",
            show_default="all",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="The seed of every method that draws random numbers, at least 0.")
    ] = 0,
    batch: o.Batch = 8,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="An earlier comparison in the folder is deleted. Otherwise it is continued.",
        ),
    ] = False,
) -> int:
    """Compare methods on your own subjects.

    The output folder holds the scores with intervals and tests, the costs and pictures.
    """
    from chiasm.machine.device import check_device, set_threads

    check_device(device)
    set_threads(threads)
    from chiasm.comparison.outputs import print_tables
    from chiasm.comparison.run import compare

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
    say(f"see {output / 'report.html'}")
    return 1 if result["failed"] else 0


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
