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
    method: Annotated[str, typer.Option(help="A training method of `chiasm info`.")],
    target: Annotated[
        str | None, typer.Option(help="The modality to be known; no other is read.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. iterations=2000 batch=4")
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(help="Modalities read beside the target, e.g. PD,T2; for methods that do."),
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option(help="Of methods from any to any, instead of the two: e.g. T1,T2,PD,FLAIR."),
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
    if (target is None) == (modalities is None) or (modalities and sources):
        legal = "--target, and --sources for methods that read them; or --modalities alone"
        raise UsageError(explain("--target", target, "is no way to name what is read", legal))
    if target is not None:
        name, others = modality_name(target, "--target"), _names(sources, "--sources")
    else:
        name, *others = _names(modalities, "--modalities")
    chosen = training_settings(method, name, config, tuple(settings or ()), tuple(others))
    from chiasm.training.fit import train

    set_threads(threads)
    model = train(input, output, chosen, resume=resume, overwrite=overwrite, device=device)
    costs = [model.training, *model.training.get("earlier", {}).values()]
    seconds = sum(one["seconds"] for one in costs)
    memory = max(one.get("memory_mb") or 0 for one in costs)
    print(f"wrote {output} ({seconds} s, {memory} MiB at the peak)")
    return 0


def _names(text: str | None, argument: str) -> list[str]:
    from chiasm.modality import modality_name

    return [modality_name(one, argument) for one in text.split(",")] if text else []
