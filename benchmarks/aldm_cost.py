"""What ALDM costs, whatever it has learned: brain-any's widths and the paper's, on one volume.

    python benchmarks/aldm_cost.py [--size 144,192,144] [--steps 8] [--device cuda]

Weights are random. Seconds and memory of one translation, the memory that was foretold
(`chiasm.memory`); and of one pass forwards and backwards through each of the three networks, the
bulk of an iteration of training, without critics and optimiser, with gradient checkpointing or
without. The volume is seen at 1 mm: a shipped model, which sees 2 mm, costs less. Saved after each
row.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from chiasm import api, models
from chiasm.cost import measure, memory_is
from chiasm.device import resolve_device
from chiasm.intensity import IntensityMap
from chiasm.networks.checkpointing import checkpoint_blocks
from chiasm.volume import Volume
from harness import save, show

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
COLUMNS = ("parameters", "weights_mb", "steps", "seconds", "memory_mb", "foretold_mb")
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
        **{key: parts[key] for key in ("network", "latent", "diffusion")},
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


def measured(name: str, parts: dict[str, Any], chosen: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    config = config_of(parts)
    module = models.build(config)
    rng, size = np.random.default_rng(0), [int(n) for n in chosen.size.split(",")]
    volume = Volume(rng.random(size, dtype=np.float32), np.eye(4), modality=MODALITIES[1])
    with tempfile.TemporaryDirectory() as folder:
        models.save(Path(folder) / "model", config, module, "")
        translator = api.load_translator(
            Path(folder) / "model", device=chosen.device, steps=chosen.steps
        )
        mask = np.ones(size, dtype=bool)
        cost = measure(lambda: translator.translate(volume, mask), chosen.device)
        foretold = translator.memory((1, 1, *size))
    row: dict[str, Any] = {"pair": "×".join(map(str, size)), "method": name}
    count = sum(one.numel() for one in module.parameters())
    row |= {"parameters": count, "weights_mb": 4 * count / 2**20, "steps": chosen.steps}
    row |= {"seconds": cost.seconds, "memory_mb": cost.memory_mb, "foretold_mb": foretold / 2**20}
    if chosen.passes:
        device = resolve_device(chosen.device)
        module, peak = module.to(device).train(), 0.0
        if chosen.checkpointing:
            checkpoint_blocks(module)
        image = torch.from_numpy(volume.array)[None, None].to(device)
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
    parser.add_argument("--passes", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--save", default="aldm_cost")
    chosen = parser.parse_args()
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    settings, rows = vars(chosen) | {"memory": memory_is(chosen.device)}, []
    for name, parts in (("brain-any", recipe), ("the paper's widths", PAPER)):
        rows.append(measured(name, parts, chosen))
        save(chosen.save, settings, rows, [])
    show("ALDM on one volume", rows, (*COLUMNS, *PASSES))


if __name__ == "__main__":
    main()
