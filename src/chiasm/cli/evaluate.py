"""``chiasm evaluate``: how close an image or a label map is to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    pred: Annotated[Path, typer.Option(help="The image or label map to be judged.")],
    truth: Annotated[Path, typer.Option(help="What it should have been.")],
    mask: Annotated[Path | None, typer.Option(help="Where to look.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Both are label maps.")] = False,
    resample: Annotated[
        bool, typer.Option("--resample", help="Lay the prediction on the truth's grid.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the scores to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it.")] = False,
) -> int:
    """Score an image (MAE, PSNR, SSIM) or a label map (Dice, HD95, ASSD)."""
    from chiasm import files
    from chiasm.evaluation.evaluate import evaluate

    if json is not None:
        files.check_output(json, overwrite, argument="--json")
    scores = evaluate(pred, truth, mask=mask, labels=labels, resample=resample)
    text = scores.model_dump_json(indent=2) + "\n"
    if json is not None:
        files.write_text(json, text, overwrite=overwrite)
    print(text, end="")
    return 0
