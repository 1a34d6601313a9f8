"""What only a GPU can show, in one run of at most ten minutes.

    python benchmarks/gpu.py --output DIR [--minutes 9] [--anatomies LABEL_MAPS]

1. Local mutual information is computed on the device and by the CPU engine. The largest difference
   and both times are written to DIR/gpu.json.
2. Every shipped recipe is trained on the device for its share of the time left. Those that draw
   heads from label maps need --anatomies, a folder of at most 64 MiB that goes along with the
   source tree. The models are written to DIR/<name>. benchmarks/phantom.py scores them, and
   benchmarks/ship.py ships them if they are better.

Without a CUDA device it stops with one line and exit code 2. With ``--device cpu`` the same steps
run on the CPU, which shows that they work and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "src" / "chiasm" / "training" / "recipes"
T1 = ("--target", "T1")
# What is trained: name, method, what it reads, batch, share of the time left.
PLAN = (
    ("brain-t1", "regression", T1, 16, 0.4),
    ("brain-t1-tissue", "segmenter", T1, 16, 0.2),
    ("brain-t1-lmi", "lmi-diffusion", T1, 16, 0.5),
    ("brain-any", "aldm", ("--modalities", "T1,T2,PD,FLAIR"), 2, 1.0),
)
FROM_LABEL_MAPS = ("brain-t1", "brain-t1-tissue", "brain-t1-lmi")
BEGINS_WITH = {"brain-t1-tissue": "brain-t1"}  # the weights that a training begins with
LEAST = 20  # seconds; in less time nothing is trained
SHAPES = ((1, 1, 64, 64), (1, 1, 128, 128), (8, 1, 128, 128), (1, 1, 256, 256))
SHAPES += ((1, 1, 48, 48, 48), (1, 1, 128, 128, 128))


def compare_lmi(device: str) -> list[dict]:
    """Differences and times of the operator, device against CPU."""
    import torch

    from chiasm.lmi import prepare

    def finished() -> float:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    rows = []
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        source, other = (torch.rand(shape, generator=generator) for _ in range(2))
        expected = prepare(source)(other)
        on_device = prepare(source.to(device))
        there = other.to(device)
        on_device(there)
        start = finished()
        result = on_device(there)
        seconds = finished() - start
        start = time.perf_counter()
        prepare(source)(other)
        rows.append(
            {
                "shape": list(shape),
                "difference": float((result.cpu() - expected).abs().max()),
                "seconds": seconds,
                "seconds_cpu": time.perf_counter() - start,
            }
        )
        print(rows[-1], flush=True)
    return rows


def chiasm(*arguments: str) -> None:
    """Run a command of the package from the source tree."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "chiasm", *arguments]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})


def lengths(recipe: Path) -> dict[str, int]:
    """How many iterations each stage of a recipe takes, by the setting that says so."""
    import yaml

    settings = yaml.safe_load(recipe.read_text())
    found = {"iterations": settings["iterations"]}
    for stage, own in settings.get("stages", {}).items():
        if "iterations" in own:
            found[f"stages.{stage}.iterations"] = own["iterations"]
    return found


def seconds_of(model: Path, key: str, planned: Iterable[str]) -> float:
    """Of the training whose length this setting gives.

    The last stage lies in the folder of the model, and each other one in a folder of its own. The
    setting ``iterations`` is that of the stage that the recipe does not name.
    """
    named = {one.split(".")[1] for one in planned if "." in one}
    folder = model
    if key == "iterations":
        others = [one.parent for one in sorted(model.glob("*/config.json"))]
        folder = next((one for one in others if one.name not in named), model)
    elif (model / key.split(".")[1]).is_dir():
        folder = model / key.split(".")[1]
    return json.loads((folder / "config.json").read_text())["training"]["seconds"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--anatomies", type=Path, help="a folder of label maps of heads")
    parser.add_argument("--subjects", type=int, default=48)
    parser.add_argument("--spacing", default="2", help="of the brains, in mm")
    parser.add_argument("--trial", type=int, default=100, help="iterations that show the speed")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("gpu: torch is not installed", file=sys.stderr)
        return 2
    on_gpu = torch.device(chosen.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("gpu: there is no CUDA device here", file=sys.stderr)
        return 2
    end = time.monotonic() + 60 * chosen.minutes
    sys.path.insert(0, str(ROOT / "src"))
    chosen.output.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name() if on_gpu else chosen.device
    facts = {"device": name, "torch": torch.__version__, "lmi": compare_lmi(chosen.device)}
    (chosen.output / "gpu.json").write_text(json.dumps(facts, indent=1) + "\n")
    data = chosen.output / "phantoms"
    chiasm("phantom", "-o", str(data), "--subjects", str(chosen.subjects), "--seed", "1",
           "--spacing", chosen.spacing, "--overwrite")  # fmt: skip
    for name, method, read, batch, share in PLAN:
        images = chosen.anatomies if name in FROM_LABEL_MAPS else data
        if images is None:
            print(f"gpu: {name} needs --anatomies, a folder of label maps", file=sys.stderr)
            continue
        seconds = (end - time.monotonic()) * share
        if seconds < LEAST:
            print(f"gpu: no time left for {name}", file=sys.stderr)
            break
        model = chosen.output / name
        # A short run shows each stage's speed. The stages of the real run then have the recipe's
        # proportions.
        start = time.monotonic()
        recipe = RECIPES / f"{name}.yaml"
        common = ["-i", str(images), "-o", str(model), *read, "--method", method,
                  "--config", str(recipe), "--device", chosen.device,
                  "--overwrite", f"batch={batch}"]  # fmt: skip
        if name in BEGINS_WITH:
            common.append(f"pretrained={chosen.output / BEGINS_WITH[name]}")
        planned = lengths(recipe)
        chiasm("train", *common, *(f"{key}={chosen.trial}" for key in planned))
        spent = time.monotonic() - start
        trial = sum(
            seconds_of(model, key, planned) / chosen.trial * count for key, count in planned.items()
        )
        factor = 0.8 * (seconds - spent) / max(trial, 1e-3)
        scaled = {key: max(2 * chosen.trial, int(factor * count)) for key, count in planned.items()}
        chiasm("train", *common, *(f"{key}={count}" for key, count in scaled.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
