"""``chiasm demo``: translate and segment a digital brain, with scores and a page of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o
from chiasm.machine.terminal import say


def command(
    output: o.Folder = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed of the digital brain, at least 0.")] = 2026,
    spacing: Annotated[float, typer.Option(help="The size of its voxels in mm, above 0.")] = 2.0,
    threads: o.Threads = None,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
) -> int:
    """Make a digital brain, translate it, segment it, and score the result."""
    from chiasm.demo import demonstrate, print_table
    from chiasm.machine.device import check_device, set_threads

    check_device(device)
    set_threads(threads)
    result = demonstrate(output, seed=seed, spacing=spacing, device=device, overwrite=overwrite)
    print_table(result["scores"])
    say(f"{result['seconds']['all']} s; see {output / 'report.html'}")
    return 0
