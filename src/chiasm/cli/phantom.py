"""``chiasm phantom``: digital brains with known anatomy, in any contrast."""

from __future__ import annotations

from typing import Annotated

import typer

from chiasm.cli import options as o


def command(
    output: o.Folder,
    subjects: Annotated[int, typer.Option(help="How many.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    modalities: Annotated[str, typer.Option(help="Comma-separated.")] = "T1,PD,T2,FLAIR",
    spacing: Annotated[float, typer.Option(help="Of the voxels, in mm.")] = 1.0,
    lesions: Annotated[bool, typer.Option("--lesions", help="White-matter lesions.")] = False,
    head: Annotated[bool, typer.Option("--head", help="Scalp, skull and fat too.")] = False,
    overwrite: o.Overwrite = False,
) -> int:
    """Write a BIDS dataset of simulated subjects."""
    from chiasm.phantom import Settings, write_dataset
    from chiasm.progress import progress

    names = tuple(name.strip() for name in modalities.split(",") if name.strip())
    settings = Settings(modalities=names, spacing=spacing, lesions=lesions, head=head)
    with progress("phantom", subjects) as advance:
        write_dataset(output, subjects, seed, settings, overwrite=overwrite, progress=advance)
    print(f"wrote {subjects} subjects to {output}")
    return 0
