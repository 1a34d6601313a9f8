"""The gradient of local mutual information: box sums beside the engine in plain torch.

    python benchmarks/lmi_gradient.py [--largest 256 --deepest 96]

The scores of two noise images and their gradient are computed as loss guidance uses them: patch 5,
11 bins, kernel 0.1, and no offsets are searched. The torch engine is run on images of at most 2^15
voxels.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from chiasm.diffusion.loss_guidance import LossGuidanceSettings
from chiasm.lmi import LMISettings
from chiasm.lmi.cpu import NumbaEngine
from chiasm.lmi.cpu_gradient import NumbaGradient
from chiasm.lmi.torch_engine import TorchEngine
from harness import save, show

COLUMNS = ("seconds", "torch_seconds", "ratio", "difference")
MEMORY = 2**28
TORCH = 2**15  # voxels


def gradient(engine: Any, other: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Of the summed scores, and the seconds that both took: the quicker of two runs."""
    best = float("inf")
    for _ in range(2):
        image = other.clone().requires_grad_()
        start = time.perf_counter()
        (result,) = torch.autograd.grad(engine(image, False).sum(), image)
        best = min(best, time.perf_counter() - start)
    return result, best


def measured(shape: tuple[int, ...], settings: LMISettings) -> dict[str, Any]:
    """One row; the largest difference is as a share of the largest gradient."""
    generator = torch.Generator().manual_seed(0)
    source, other = (torch.rand((1, *shape), generator=generator) for _ in range(2))
    engine = NumbaEngine(source, settings, MEMORY)
    found, seconds = gradient(NumbaGradient(source, settings, MEMORY, engine), other)
    row: dict[str, Any] = {"pair": "×".join(map(str, shape)), "method": "loss guidance"}
    row |= {"seconds": seconds, "torch_seconds": None, "ratio": None, "difference": None}
    if source.numel() <= TORCH:
        expected, took = gradient(TorchEngine(source, settings, MEMORY), other)
        apart = float((found - expected).abs().max() / expected.abs().max())
        row |= {"torch_seconds": took, "ratio": took / seconds, "difference": apart}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=256)
    parser.add_argument("--deepest", type=int, default=96)
    parser.add_argument("--save", default="lmi_gradient")
    chosen = parser.parse_args()
    settings = LMISettings(**LossGuidanceSettings().operator())
    shapes: list[tuple[int, ...]] = [(n, n) for n in (64, 128, 256) if n <= chosen.largest]
    shapes += [(n, n, n) for n in (16, 32, 64, 96) if n <= chosen.deepest]
    rows = [measured(shape, settings) for shape in shapes]
    show("Scores and their gradient", rows, COLUMNS)
    save(chosen.save, vars(chosen) | {"operator": vars(settings)}, rows, [])


if __name__ == "__main__":
    main()
