"""``chiasm evaluate``: score an image or a label map against the truth."""

from __future__ import annotations

from json import dumps, loads
from pathlib import Path
from typing import Annotated

import typer

from chiasm.machine.terminal import say, warn


def command(
    pred: Annotated[Path, typer.Option(help="The image or label map that is scored.")],
    truth: Annotated[Path, typer.Option(help="The true image or label map.")],
    mask: Annotated[
        Path | None, typer.Option(help="A mask of the voxels that are compared.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Both files are label maps.")] = False,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="The prediction is resampled onto the grid of the truth."),
    ] = False,
    json: Annotated[Path | None, typer.Option(help="The scores are written to this file.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="An existing file is replaced.")
    ] = False,
) -> int:
    """Score an image (MAE, PSNR, SSIM) or a label map (Dice, HD95, ASSD) against the truth."""
    from chiasm import files
    from chiasm.files.find import spare_inputs
    from chiasm.scoring.evaluate import evaluate

    if json is not None:
        files.check_output(json, overwrite, argument="--json")
        spare_inputs([json], [one for one in (pred, truth, mask) if one is not None], "--json")
    scores = evaluate(pred, truth, mask=mask, labels=labels, resample=resample)
    for warning in scores.warnings:
        warn(f"chiasm: warning: {warning}")
    # Plain ASCII is valid JSON on a terminal of any encoding.
    text = dumps(loads(scores.model_dump_json()), indent=2) + "\n"
    if json is not None:
        files.write_text(json, text, overwrite=overwrite, argument="--json")
    say(text, end="")
    return 0
