"""``chiasm phantom``: digital brains with known anatomy, in any contrast."""

from __future__ import annotations

from typing import Annotated

import typer

from chiasm.cli import options as o
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
    overwrite: o.Overwrite = False,
) -> int:
    """Write a BIDS dataset of digital brains with known anatomy."""
    from chiasm.machine.progress import progress
    from chiasm.phantom import Settings, write_dataset

    names = tuple(name.strip() for name in modalities.split(",") if name.strip())
    settings = Settings(modalities=names, spacing=spacing, lesions=lesions, head=head)
    with progress("phantom", subjects) as advance:
        write_dataset(output, subjects, seed, settings, overwrite=overwrite, progress=advance)
    say(f"wrote {subjects} subjects to {output}")
    return 0
