"""``chiasm phantom``: digital brains with known anatomy, in any contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o
from chiasm.errors import UsageError, explain
from chiasm.machine.terminal import say


def command(
    output: o.Folder,
    subjects: Annotated[int, typer.Option(help="The number of subjects, at least 1.")] = 1,
    seed: Annotated[
        int, typer.Option(help="The seed, at least 0. The same seed gives the same files.")
    ] = 0,
    modalities: Annotated[
        str, typer.Option(help="The modalities with commas between them.")
    ] = "T1,PD,T2,FLAIR",
    spacing: Annotated[float, typer.Option(help="The size of the voxels in mm, above 0.")] = 1.0,
    lesions: Annotated[
        bool, typer.Option("--lesions", help="The white matter contains lesions.")
    ] = False,
    head: Annotated[
        bool, typer.Option("--head", help="The scans also show scalp, skull and fat.")
    ] = False,
    anatomies: Annotated[
        Path | None,
        typer.Option(
            help="A folder of label maps with FreeSurfer labels. Each subject is then the deformed "
            "head of one of these people. Otherwise it is a deformed average brain."
        ),
    ] = None,
    tumours: Annotated[
        bool, typer.Option("--tumours", help="The brain contains a tumour. Needs --anatomies.")
    ] = False,
    resections: Annotated[
        bool,
        typer.Option("--resections", help="The brain has a resection cavity. Needs --anatomies."),
    ] = False,
    thickness: Annotated[
        str, typer.Option(help="The smallest and the largest thickness of the slices in mm.")
    ] = "1-4",
    any_plane: Annotated[
        bool,
        typer.Option(
            "--any-plane",
            help="Slices are axial, coronal or sagittal at random, not only axial. Needs "
            "--anatomies.",
        ),
    ] = False,
    artefacts: Annotated[
        bool,
        typer.Option(
            "--artefacts", help="The scans show ringing and ghosts of motion. Needs --anatomies."
        ),
    ] = False,
    overwrite: o.Overwrite = False,
) -> int:
    """Write a BIDS dataset of digital brains with known anatomy."""
    from chiasm.machine.progress import progress
    from chiasm.phantom import Settings, write_dataset

    names = tuple(name.strip() for name in modalities.split(",") if name.strip())
    settings = Settings(
        modalities=names,
        spacing=spacing,
        lesions=lesions,
        head=head,
        anatomies=anatomies,
        tumours=tumours,
        resections=resections,
        thickness=_range(thickness),
        any_plane=any_plane,
        artefacts=artefacts,
    )
    with progress("phantom", subjects) as advance:
        write_dataset(output, subjects, seed, settings, overwrite=overwrite, progress=advance)
    say(f"wrote {subjects} subjects to {output}")
    return 0


def _range(text: str) -> tuple[float, float]:
    """Two numbers of mm, as in "1-6"; one number stands for both."""
    parts = text.split("-")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise UsageError(
            explain("--thickness", text, "is no range", "two numbers of mm, as in 1-6")
        )
    return values[0], values[-1]
