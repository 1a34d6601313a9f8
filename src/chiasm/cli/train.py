"""``chiasm train``: a model folder from scans of one modality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o


def command(
    input: Annotated[
        Path, typer.Option("--input", "-i", help="A BIDS dataset, or a folder of scans.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.")],
    target: Annotated[str, typer.Option(help="The modality to be known; no other is read.")],
    method: Annotated[str, typer.Option(help="A training method of `chiasm info`.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. iterations=2000 batch=4")
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(help="Modalities read beside the target, e.g. PD,T2; for methods that do."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it broke off.")] = False,
    device: o.Device = "auto",
    threads: o.Threads = None,
    overwrite: o.Overwrite = False,
) -> int:
    """Train a translator or a segmenter on one modality alone."""
    from chiasm.cli.cases import set_threads
    from chiasm.device import check_device
    from chiasm.errors import UsageError, explain
    from chiasm.modality import modality_name
    from chiasm.training.settings import training_settings

    check_device(device)
    if resume and overwrite:
        raise UsageError(explain("--resume", "", "contradicts --overwrite", "one of the two"))
    name = modality_name(target, "--target")
    others = tuple(modality_name(one, "--sources") for one in (sources or "").split(",") if one)
    chosen = training_settings(method, name, config, tuple(settings or ()), others)
    from chiasm.training.fit import train

    set_threads(threads)
    train(input, output, chosen, resume=resume, overwrite=overwrite, device=device)
    print(f"wrote {output}")
    return 0
