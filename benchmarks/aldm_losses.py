"""The five losses of ALDM, one left out at a time: what each is worth.

    chiasm phantom -o DIR --subjects 48 --seed 1 --spacing 2
    chiasm phantom -o UNSEEN --subjects 4 --seed 90000 --spacing 2
    python benchmarks/aldm_losses.py --data DIR --unseen UNSEEN [--iterations 300]

Every row is a short training of brain-any's autoencoder and a small MS-SPADE with one weight of
`losses` at 0, equal in all else, judged on unseen brains: there and back of every modality, through
the codes, and every pair by MS-SPADE alone (diffusion has no loss of its own among the five).
"Sharpness" is the mean gradient in the head over that of the real image: 1 is as sharp. Rows that
are there are not done again.
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
from chiasm import api, files
from chiasm.head import head_mask
from chiasm.modality import modality_name
from chiasm.training.fit import train
from chiasm.training.settings import LatentLosses, TrainingSettings, training_settings
from chiasm.translators import RunOptions
from chiasm.translators.aldm import ALDM
from harness import RESULTS, save, show

# Iterations of the autoencoder, whose boxes are small, for one of MS-SPADE.
BOXES = 3
ROWS = ("none", *LatentLosses.model_fields)
COLUMNS = ("psnr", "ssim", "sharpness", "slice_jump", "codes", "train_seconds")


class ThereAndBack(ALDM):
    """The autoencoder alone: the source itself, as well as its latent can hold it."""

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        codec = self.model.module.codec
        return codec.decode(codec.encode(source))


def sharpness(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean length of the gradient in the head."""
    return float(np.sqrt(sum(one**2 for one in np.gradient(image)))[mask].mean())


def settings_of(row: str, chosen: argparse.Namespace, wanted: list[str]) -> TrainingSettings:
    """Of a row's training."""
    count = chosen.iterations  # the recipe has numbers of its own for its stages
    stages = {"autoencoder": BOXES * count, "translator": count, "diffusion": 1}
    told = [f"stages.{name}.iterations={each}" for name, each in stages.items()]
    told.append("latent.quantise=true")  # else there was nothing to lose without the loss of codes
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
    print(f"training without {row}", flush=True)
    # What is there is gone on with, and refused if its settings were others.
    resume = (folder / "autoencoder" / "training.yaml").is_file()
    train(chosen.data, folder, settings, resume=resume, overwrite=not resume)
    return folder


def judged(row: str, folder: Path, unseen: list[Any], wanted: list[str]) -> Iterator[Any]:
    """Scores of every subject and modality there and back, and of every pair."""
    model = api.load_translator(folder, to=wanted[0]).model
    stages = (folder / name / "config.json" for name in ("autoencoder", "translator"))
    took = sum(json.loads(path.read_text())["training"]["seconds"] for path in stages)
    used = model.module.codec.network.codebook.ema_cluster_size
    codes = int((used > 0.01 * used.mean()).sum())
    for name, images, mask in unseen:
        there = {(key, key): ThereAndBack(model.towards(key)) for key in wanted}
        across = {
            (source, target): ALDM(model.towards(target), RunOptions(start="estimate"))
            for source, target in permutations(wanted, 2)
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
    parser.add_argument("--runs", type=Path, default=Path("runs/aldm-losses"))
    parser.add_argument("--save", default="aldm_losses")
    parser.add_argument("settings", nargs="*", help="of all trainings, key=value")
    chosen = parser.parse_args()

    wanted = [modality_name(name) for name in chosen.modalities.split(",")]
    leave_out = ("data", "unseen", "runs")
    settings = {key: value for key, value in vars(chosen).items() if key not in leave_out}
    settings["training"] = settings_of("none", chosen, wanted).model_dump(mode="json")
    path = RESULTS / f"{chosen.save}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    if before.get("settings", settings) != settings:
        parser.error(f"{path.name} holds rows of other settings; legal: another name to --save")
    rows = before["rows"]
    done = {row["method"] for row in rows}
    unseen = []
    for name, paths in subjects(chosen.unseen, wanted, chosen.subjects):
        images = {key: files.read(one, modality=key) for key, one in paths.items()}
        mask = head_mask(images[wanted[0]])
        images = {
            key: replace(one, array=np.where(mask, one.array, 0)) for key, one in images.items()
        }
        unseen.append((name, images, mask))
    for row in ROWS:
        if (row == "none" and "all five" in done) or f"without {row}" in done:
            continue
        rows += judged(row, trained(row, chosen, wanted), unseen, wanted)
        save(chosen.save, settings, summarised(rows), rows)
    show(f"ALDM's losses, {chosen.iterations} iterations of MS-SPADE", summarised(rows), COLUMNS)


if __name__ == "__main__":
    main()
