"""The five losses of ALDM, one left out at a time: what each is worth.

    chiasm phantom -o DIR --subjects 48 --seed 1 --spacing 2
    chiasm phantom -o UNSEEN --subjects 4 --seed 90000 --spacing 2
    python benchmarks/aldm_losses.py --data DIR --unseen UNSEEN [--iterations 300]

Every row is a short training of brain-any's autoencoder and of a small MS-SPADE with one weight of
`losses` at 0. All else is equal. The models are scored on unseen brains: every modality is encoded
and decoded again through the codes, and every pair is translated by MS-SPADE alone, because none of
the five losses is that of the diffusion. "Sharpness" is the mean gradient in the foreground divided
by that of the real image, so that 1 is as sharp. Rows that were computed are not computed again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aldm import scores, subjects, unit
from aldm_cost import RECIPE
from chiasm import files
from chiasm.image.foreground import foreground_mask
from chiasm.methods.aldm.settings import LatentLosses
from chiasm.methods.aldm.translator import ALDM
from chiasm.methods.load import load_translator
from chiasm.training.fit import train
from chiasm.training.settings import TrainingSettings, training_settings
from harness import modalities, rows_to_extend, save, show

# Iterations of the autoencoder, whose boxes are small, for one of MS-SPADE.
BOXES = 3
ROWS = ("none", *LatentLosses.model_fields)
COLUMNS = ("psnr", "ssim", "sharpness", "slice_jump", "codes", "train_seconds")


class ThereAndBack(ALDM):
    """The autoencoder alone: the source itself, as well as its latent can hold it."""

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        codec = self.model.module.codec
        return codec.decode(codec.encode(source))


def sharpness(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean length of the gradient in the foreground."""
    return float(np.sqrt(sum(one**2 for one in np.gradient(image)))[mask].mean())


def settings_of(row: str, chosen: argparse.Namespace, wanted: list[str]) -> TrainingSettings:
    """Of a row's training."""
    count = chosen.iterations  # the recipe has numbers of its own for its stages
    stages = {"autoencoder": BOXES * count, "translator": count, "diffusion": 1}
    told = [f"stages.{name}.iterations={each}" for name, each in stages.items()]
    told.append("latent.quantise=true")  # without codes, their loss would mean nothing
    weights = dict(LatentLosses()) | ({} if row == "none" else {row: 0})
    # The recipe's stage has weights of its own.
    for where in ("losses", "stages.translator.losses"):
        told += [f"{where}.{name}={weight}" for name, weight in weights.items()]
    # A cycle needs one target at a time, and the paper's losses are MS-SPADE's.
    told += ["stages.translator.all_targets=false", "latent.translator.name=ms-spade"]
    told += ["latent.translator.features=[32, 32]", "latent.translator.hidden=16"]
    told += chosen.settings
    return training_settings("aldm", wanted[0], RECIPE, tuple(told), tuple(wanted[1:]))


def trained(row: str, chosen: argparse.Namespace, wanted: list[str]) -> Path:
    """The row's model, trained or resumed if it is not there."""
    folder = chosen.runs / chosen.data.name / row
    settings = settings_of(row, chosen, wanted)
    print(
        "training with all five losses" if row == "none" else f"training without {row}", flush=True
    )
    # An interrupted training is resumed; one of other settings is refused.
    resume = (folder / "autoencoder" / "training.yaml").is_file()
    train(chosen.data, folder, settings, resume=resume, overwrite=not resume)
    return folder


def scored(row: str, folder: Path, unseen: list[Any], wanted: list[str]) -> Iterator[Any]:
    """Scores of every subject and modality there and back, and of every pair."""
    estimate = load_translator(folder, to=wanted[0], start="estimate")
    model = estimate.model
    stages = (folder / name / "config.json" for name in ("autoencoder", "translator"))
    took = sum(json.loads(path.read_text())["training"]["seconds"] for path in stages)
    used = model.module.codec.network.codebook.ema_cluster_size
    codes = int((used > 0.01 * used.mean()).sum())
    for name, images, mask in unseen:
        there: dict[tuple[str, str], Any] = {
            (key, key): ThereAndBack(model.towards(key), estimate.options) for key in wanted
        }
        across = {
            (source, target): estimate.towards(target) for source, target in permutations(wanted, 2)
        }
        for (source, target), translator in (there | across).items():
            made = unit(translator.translate(images[source], mask).volume, mask)
            real = unit(images[target], mask)
            pair = "there and back" if source == target else "all pairs"
            found = scores(made, real, mask)
            sharp = sharpness(made.array, mask) / sharpness(real.array, mask)
            yield {
                "subject": name,
                "pair": pair,
                "images": f"{source}→{target}",
                "method": "all five" if row == "none" else f"without {row}",
                "codes": codes,
                "train_seconds": took,
                "sharpness": sharp,
            } | found


def summarised(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over subjects and images."""
    lines = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [r for r in rows if (r["pair"], r["method"]) == (pair, method)]
            means = {key: float(np.mean([r[key] for r in own])) for key in COLUMNS}
            lines.append({"pair": pair, "method": method} | means)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=300, help="of MS-SPADE")
    parser.add_argument("--modalities", default="T1,T2,PD,FLAIR")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--rows", default=",".join(ROWS), help="which losses are left out")
    parser.add_argument("--runs", type=Path, default=Path("runs/aldm-losses"))
    parser.add_argument("--save", default="aldm_losses")
    parser.add_argument("settings", nargs="*", help="of all trainings, key=value")
    chosen = parser.parse_args()

    wanted = modalities(chosen.modalities)
    if unknown := set(chosen.rows.split(",")) - set(ROWS):
        parser.error(f"--rows {', '.join(sorted(unknown))}: legal: {', '.join(ROWS)}")
    leave_out = ("data", "unseen", "runs", "rows")
    settings = {key: value for key, value in vars(chosen).items() if key not in leave_out}
    settings["training"] = settings_of("none", chosen, wanted).model_dump(mode="json")
    rows = rows_to_extend(parser, chosen.save, settings)
    done = {row["method"] for row in rows}
    unseen = []
    for name, paths in subjects(chosen.unseen, wanted, chosen.subjects):
        images = {key: files.read(one, modality=key) for key, one in paths.items()}
        mask = foreground_mask(images[wanted[0]])
        images = {
            key: replace(one, array=np.where(mask, one.array, 0)) for key, one in images.items()
        }
        unseen.append((name, images, mask))
    for row in chosen.rows.split(","):
        if (row == "none" and "all five" in done) or f"without {row}" in done:
            continue
        rows += scored(row, trained(row, chosen, wanted), unseen, wanted)
        save(chosen.save, settings, summarised(rows), rows)
    show(f"ALDM's losses, {chosen.iterations} iterations of MS-SPADE", summarised(rows), COLUMNS)


if __name__ == "__main__":
    main()
