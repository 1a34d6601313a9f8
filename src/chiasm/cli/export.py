"""``chiasm export``: a model in a format that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chiasm.cli import options as o
from chiasm.machine.terminal import say


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="The name of a shipped model, or the folder of a model."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="The format. For torchscript and onnx it is a file of the network, with a YAML "
            "file that describes it. For bundle it is a folder for MONAI, which takes whole scans."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file, which ends with .ts or .onnx, or the folder of the bundle.",
        ),
    ],
    overwrite: o.Overwrite = False,
) -> int:
    """Write a model as TorchScript, ONNX or a MONAI bundle."""
    from chiasm.export import export_model

    made = export_model(model, to, output, overwrite=overwrite)
    for path in made.files:
        say(f"wrote {path}")
    say(f"the largest difference from {model} on random inputs is {made.difference:.1g}")
    return 0
