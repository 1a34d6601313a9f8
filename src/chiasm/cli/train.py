"""``chiasm train``: train a model on scans of one or more modalities."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o
from chiasm.machine.terminal import say


def command(
    input: Annotated[
        Path, typer.Option("--input", "-i", help="A BIDS dataset or a folder of scans.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the new model.")],
    method: Annotated[str, typer.Option(help="The training method; `chiasm info` lists them.")],
    target: Annotated[
        str | None,
        typer.Option(
            help="The modality that the model learns. Other modalities are read only if --sources "
            "names them."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Settings as key=value, such as iterations=2000 batch=4."),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(help="Source modalities for methods that learn from them, such as PD,T2."),
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="All modalities of a method from any to any, such as T1,T2,PD,FLAIR. This "
            "replaces --target and --sources."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file of settings. Settings on the command line have precedence."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="An interrupted training is continued.")
    ] = False,
    device: o.Device = "auto",
    devices: Annotated[
        int,
        typer.Option(
            help="The number of GPUs, or of processes on the CPU, that share each batch. Each "
            "reads all scans and computes with --threads.",
            min=1,
        ),
    ] = 1,
    threads: o.Threads = None,
    overwrite: o.Overwrite = False,
) -> int:
    """Train a translator or a segmenter."""
    if devices > 1:  # torch warns of what Lightning asks of it; it reads this when it is imported
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from chiasm.errors import UsageError, explain
    from chiasm.image.modality import modality_name
    from chiasm.machine.device import check_device, set_threads
    from chiasm.training.settings import training_settings

    check_device(device)
    if resume and overwrite:
        raise UsageError(explain("--resume", "", "contradicts --overwrite", "only one of the two"))
    if (target is None) == (modalities is None) or (modalities and sources):
        legal = "either --target, with --sources for methods that read them, or --modalities only"
        raise UsageError(explain("--target", target, "does not name the modalities to read", legal))
    if target is not None:
        name, others = modality_name(target, "--target"), _names(sources, "--sources")
    else:
        name, *others = _names(modalities, "--modalities")
    chosen = training_settings(method, name, config, tuple(settings or ()), tuple(others))
    from chiasm.training.fit import train
    from chiasm.training.several_devices import this_process

    set_threads(threads)
    again = {"resume": resume, "overwrite": overwrite}
    model = train(input, output, chosen, **again, device=device, devices=devices)
    if not this_process(devices).is_first:
        return 0
    costs = [model.training, *model.training.get("earlier", {}).values()]
    seconds = sum(one["seconds"] for one in costs)
    memory = max(one.get("memory_mb") or 0 for one in costs)
    say(f"wrote {output} ({seconds} s, {memory} MiB at the peak)")
    return 0


def _names(text: str | None, argument: str) -> list[str]:
    from chiasm.image.modality import modality_name

    return [modality_name(one, argument) for one in text.split(",")] if text else []
