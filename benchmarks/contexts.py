"""Slices, slices with neighbours, and volumes: the default translator trained for the same time.

    python benchmarks/contexts.py --anatomies DIR --data DIR [--minutes 25] [--contexts 2d,2.5d,3d]

DIR of --anatomies holds label maps of heads, and DIR of --data the sets of ``foreign.py``. Each
context is trained by the recipe of the default translator from fresh weights. A short run shows how
long an iteration takes, and the training then has as many iterations as fit into the time. With
--contexts, the trainings can run at the same time on one core each. A model that is there already
is not trained again. `foreign.py` then measures all models that are there, and saves the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

import foreign
from chiasm import models
from chiasm.registry import DEFAULT_MODEL
from chiasm.training.fit import train
from chiasm.training.settings import training_settings

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "src/chiasm/training/recipes" / f"{DEFAULT_MODEL}.yaml"
# The expected error is not compared.
IMAGE_ALONE = ("error_network=null", "acquisition=null", "misplaced=0")
# What differs from the recipe.
CONTEXTS = {
    "2d": ("context={kind: 2d, neighbours: 0}",),
    "2.5d": (),
    "3d": (
        "context={kind: 3d, neighbours: 0}",
        "planes=[]",
        "inference_planes=null",
        "batch=1",
        "augmentation.crop=[96, 96, 96]",
        "window=[96, 96, 96]",
    ),
}


def trained(name: str, chosen: argparse.Namespace, iterations: int, folder: Path) -> float:
    """Train one context; returns the seconds that the training took."""
    words = (*CONTEXTS[name], *IMAGE_ALONE, *chosen.settings, f"iterations={iterations}")
    settings = training_settings("regression", "T1w", RECIPE, words)
    made = train(chosen.anatomies, folder, settings, overwrite=True)
    return float(made.training["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/contexts"))
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--contexts", default=",".join(CONTEXTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trial", type=int, default=30, help="iterations that show the speed")
    parser.add_argument("--cases", default="open_ms mni,niivue_chris")
    parser.add_argument("--slices", type=int, default=48)
    parser.add_argument("--save", default="contexts")
    parser.add_argument("settings", nargs="*", help="of the trainings, as for chiasm train")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name in filter(None, chosen.contexts.split(",")):
        if name not in CONTEXTS:
            raise SystemExit(f"--contexts {name}: is not known; legal: {', '.join(CONTEXTS)}")
        folder = chosen.runs / name
        if (folder / models.CONFIG).is_file():
            continue
        spent = trained(name, chosen, chosen.trial, chosen.runs / f"{name}-trial")
        speed = max(spent, 0.5) / chosen.trial  # whole seconds are recorded
        trained(name, chosen, max(chosen.trial, int(60 * chosen.minutes / speed)), folder)
    there = [name for name in CONTEXTS if (chosen.runs / name / models.CONFIG).is_file()]
    for name in there:
        made = json.loads((chosen.runs / name / models.CONFIG).read_text(encoding="utf-8"))
        facts = made["training"]
        iterations = facts["settings"]["iterations"]
        print(f"{name}: {iterations} iterations, {facts['seconds']:.0f} s", flush=True)
    words = ["--data", chosen.data, "--save", chosen.save, "--cases", chosen.cases]
    words += ["--slices", chosen.slices, "--networks", "model20chan3cls"]
    words += ["--translators", ",".join(f"{name}={chosen.runs / name}" for name in there)]
    sys.argv = ["foreign.py", *map(str, words), "--runs", str(chosen.runs / "foreign")]
    foreign.main()


if __name__ == "__main__":
    main()
