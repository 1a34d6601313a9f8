"""What ALDM costs on one volume: the shipped brain-any, its widths at 1 mm, and the paper's.

    python benchmarks/aldm_cost.py [--size 144,192,144] [--steps 8] [--device cuda]

The shipped model sees the volume at 2 mm. The others have random weights. The table shows seconds
and memory of one translation, and the memory that was predicted for it (`chiasm.machine.memory`).
It also shows seconds and memory of one pass forwards and backwards through each of the three
networks, with gradient checkpointing or without. These passes are most of an iteration of
training, which has critics and an optimiser too. The results are saved after each row. Rows that
were computed with the same settings are not computed again.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from chiasm import models
from chiasm.image.intensity import IntensityMap
from chiasm.image.volume import Volume
from chiasm.machine.cost import measure, memory_is
from chiasm.machine.device import Resources, resolve_device
from chiasm.methods.load import load_translator
from chiasm.networks.checkpointing import checkpoint_blocks
from harness import rows_before, save, show

RECIPE = Path(models.__file__).parent / "training" / "recipes" / "brain-any.yaml"
MODALITIES = ("T1w", "T2w", "PDw", "FLAIR")
# Kim & Park, WACV 2024, and their code.
PAPER = {
    "latent": {
        "autoencoder": {"channels": [64, 128], "residual_layers": 2, "codes": 8192, "latent": 4},
        "translator": {"features": [128, 256, 128], "hidden": 64},
    },
    "network": {
        "name": "diffusion-unet",
        "arguments": {
            "channels": [128, 128, 256],
            "num_res_blocks": 2,
            "attention_levels": [False, False, False],
        },
    },
    "diffusion": {"parameterisation": "x0", "residual": True},
}
COLUMNS = (
    "spacing_mm",
    "parameters",
    "weights_mb",
    "steps",
    "seconds",
    "memory_mb",
    "predicted_mb",
)
PASSES = ("autoencoder_pass_s", "translator_pass_s", "diffusion_pass_s", "pass_memory_mb")


def config_of(parts: dict[str, Any]) -> models.ModelConfig:
    """A model's config with these networks, on a lattice of 1 mm."""
    scale = IntensityMap(low=0, high=1, units="", background=0)
    return models.ModelConfig(
        kind="translator",
        method="aldm",
        target=MODALITIES[0],
        targets={name: models.Scale(intensity=scale) for name in MODALITIES},
        grid={"spacing": (1.0, 1.0, 1.0)},  # type: ignore[arg-type]
        context={"kind": "3d"},  # type: ignore[arg-type]
        intensity=scale,
        network=parts["network"],
        settings={key: parts[key] for key in ("latent", "diffusion")},
    )


def passes(module: Any, image: Tensor) -> dict[str, Callable[[], None]]:
    """One pass through every part, forwards and backwards."""
    label = torch.zeros(1, dtype=torch.long, device=image.device)

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast(image.device.type, torch.bfloat16):
                loss().backward()
            module.zero_grad(set_to_none=True)

        return run

    def diffusion() -> Tensor:
        with torch.no_grad():
            condition = module.condition(image, label, [0])
        return module.predict(torch.randn_like(condition.source), label, condition).square().mean()

    def translator() -> Tensor:
        with torch.no_grad():
            latent = module.codec.encode(image)
        return module.translator(latent, label, [0]).square().mean()

    network = module.codec.network
    return {
        "autoencoder_pass_s": step(lambda: network(image).square().mean()),
        "translator_pass_s": step(translator),
        "diffusion_pass_s": step(diffusion),
    }


def noise(size: str) -> Volume:
    """A volume of this size at 1 mm."""
    array = np.random.default_rng(0).random([int(n) for n in size.split(",")], dtype=np.float32)
    return Volume(array, np.eye(4), modality=MODALITIES[1])


def padded(size: Sequence[float], multiple: int) -> list[int]:
    """The size of a sample after padding: each axis is the next multiple of ``multiple``."""
    return [multiple * math.ceil(n / multiple) for n in size]


def translated(name: str, folder: Path | str, chosen: argparse.Namespace) -> dict[str, Any]:
    """The row of one model: a translation."""
    volume = noise(chosen.size)
    resources = Resources(device=chosen.device)
    translator: Any = load_translator(
        folder, to=MODALITIES[0], resources=resources, steps=chosen.steps
    )
    mask = np.ones(volume.shape, dtype=bool)
    cost = measure(lambda: translator.translate(volume, mask), chosen.device)
    spacing = translator.model.config.grid.spacing
    seen = [n / one for n, one in zip(volume.shape, spacing, strict=True) if one]
    predicted = translator.memory((1, 1, *padded(seen, translator.model.module.divisible_by)))
    count = sum(one.numel() for one in translator.model.module.parameters())
    return {
        "pair": "×".join(map(str, volume.shape)),
        "method": name,
        "spacing_mm": spacing[0],
        "parameters": count,
        "weights_mb": 4 * count / 2**20,
        "steps": chosen.steps,
        "seconds": cost.seconds,
        "memory_mb": cost.memory_mb,
        "predicted_mb": predicted / 2**20,
    }


def measured(name: str, parts: dict[str, Any], chosen: argparse.Namespace) -> dict[str, Any]:
    """The row of networks of random weights: a translation, and passes of training."""
    config = config_of(parts)
    module = models.build(config)
    with tempfile.TemporaryDirectory() as folder:
        models.save(Path(folder) / "model", config, module, "")
        row = translated(name, Path(folder) / "model", chosen)
    if chosen.passes:
        device = resolve_device(chosen.device)
        module, peak = module.to(device).train(), 0.0
        if chosen.checkpointing:
            checkpoint_blocks(module)
        array = noise(chosen.size).array
        full = padded(array.shape, module.divisible_by)
        extra = [(0, after - before) for before, after in zip(array.shape, full, strict=True)]
        image = torch.tensor(np.pad(array, extra))[None, None].to(device)
        for part, run in passes(module, image).items():
            run()  # what is compiled or laid out the first time is not counted
            trained = measure(run, chosen.device)
            row[part], peak = trained.seconds, max(peak, trained.memory_mb)
        row["pass_memory_mb"] = peak
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="144,192,144")
    parser.add_argument("--steps", type=int, default=8, help="8 is brain-any's default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", default="", help="rows, by their names; all if not given")
    parser.add_argument("--passes", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--save", default="aldm_cost")
    chosen = parser.parse_args()
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    settings = {key: value for key, value in vars(chosen).items() if key != "models"}
    settings["memory"] = memory_is(chosen.device)
    rows = rows_before(chosen.save, settings)
    chosen_models = chosen.models.split(",") if chosen.models else None
    todo: dict[str, Callable[[str], dict[str, Any]]] = {
        "brain-any": lambda name: translated(name, "brain-any", chosen),
        "brain-any's widths": lambda name: measured(name, recipe, chosen),
        "the paper's widths": lambda name: measured(name, PAPER, chosen),
    }
    done = {row["method"] for row in rows}
    for name in [one for one in todo if one not in done]:
        if chosen_models is not None and name not in chosen_models:
            continue
        rows.append(todo[name](name))
        save(chosen.save, settings, rows, rows)
    show("ALDM on one volume", rows, (*COLUMNS, *PASSES))


if __name__ == "__main__":
    main()
