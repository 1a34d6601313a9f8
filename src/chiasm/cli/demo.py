"""``chiasm demo``: the whole way on a digital brain, with scores and a page of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o


def command(
    output: o.Folder = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the digital brain.")] = 2026,
    spacing: Annotated[float, typer.Option(help="Of its voxels, in mm.")] = 2.0,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
) -> int:
    """Make a digital brain, translate it, segment it, and show how good that is."""
    from chiasm.cli.cases import set_threads
    from chiasm.demo import demonstrate, print_table
    from chiasm.device import check_device

    check_device(device)
    set_threads(threads)
    result = demonstrate(output, seed=seed, spacing=spacing, device=device, overwrite=overwrite)
    print_table(result["scores"])
    print(f"{result['seconds']['all']} s; see {output / 'report.html'}")
    return 0
