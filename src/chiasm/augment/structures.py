"""Contrast from a map of structures: every structure of the head gets an intensity of its own.

No intensity map of a T1 image makes the contrast of every modality: in T2, the thalamus is as dark
as white matter, while the cortex is bright. Random intensities for each structure (SynthSeg, Billot
et al. 2023) and the signal equations of `chiasm.phantom.appearance` make such contrasts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chiasm.image.intensity import policy_for
from chiasm.phantom.appearance import APPEARANCES, signals
from chiasm.phantom.structures import STRUCTURES, TISSUE_OF, index_of

_TISSUES = sorted({*TISSUE_OF})
_TISSUE_INDEX = torch.tensor([_TISSUES.index(one) for one in TISSUE_OF])
_AIR = TISSUE_OF.index("air")
_CORTEX, _WHITE = index_of("cortex"), index_of("white matter")
# Voxels that stand for the intensities of the whole volume.
_POPULATION = 4096


def random_means(generator: torch.Generator | None) -> Tensor:
    """Random mean intensities in [0, 1], (structures,), with air at 0.

    The structures of one tissue are alike to a random degree, from equal to independent.
    """
    own = torch.rand(len(STRUCTURES), generator=generator)
    tissue = torch.rand(len(_TISSUES), generator=generator)[_TISSUE_INDEX]
    alike = torch.rand((), generator=generator)
    means = alike * tissue + (1 - alike) * own
    means[_AIR] = 0
    return means


def equation_means(
    generator: torch.Generator | None, weights: Mapping[str, float] | None = None
) -> tuple[Tensor, bool]:
    """Mean intensities of a random scan of a random modality, and whether their range is fixed.

    The intensities of MR are relative, and are scaled later by the percentiles of the volume. Those
    of CT are already in [0, 1], by the window that is used for all CT scans. A modality is drawn as
    often as its weight says; it is 1 for those that ``weights`` does not name.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    rng = np.random.default_rng(seed)
    share = np.array([(weights or {}).get(name, 1.0) for name in APPEARANCES])
    modality = list(APPEARANCES)[rng.choice(len(share), p=share / share.sum())]
    values = torch.from_numpy(signals(rng, modality))
    policy = policy_for(modality)
    if policy.kind == "window":
        return (values - policy.low) / (policy.high - policy.low), True
    return values / values.max().clamp(min=1e-6), False


def grey_white_difference(means: Tensor) -> float:
    """The difference between the means of the cortex and of white matter."""
    return float((means[_CORTEX] - means[_WHITE]).abs())


def paint(
    structures: Tensor,
    means: Tensor,
    deviations: Tensor,
    generator: torch.Generator | None,
    grain: float = 1.5,
) -> Tensor:
    """An image whose structures have these means and deviations.

    Parameters
    ----------
    structures : integer Tensor, shape (\\*spatial)
        Positions in `chiasm.phantom.structures.STRUCTURES`.
    means, deviations : Tensor, shape (structures,)
        The deviation is that of a texture whose grains are ``grain`` to 4 · ``grain`` voxels wide.
    """
    index = structures.long()
    shape = tuple(structures.shape)
    width = grain * (1 + 3 * float(torch.rand((), generator=generator)))
    nodes = [max(2, round(n / width)) for n in shape]
    coarse = torch.randn((1, 1, *nodes), generator=generator).to(structures.device)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    texture = functional.interpolate(coarse, size=shape, mode=mode, align_corners=True)[0, 0]
    means, deviations = means.to(index.device), deviations.to(index.device)
    return means[index] + deviations[index] * texture


def places(counts: Tensor) -> Tensor:
    """The structures of 4096 voxels that stand for a volume, given its voxel counts: uint8."""
    share = torch.cumsum(counts.double(), 0) / counts.sum().clamp(min=1)
    middle = (torch.arange(_POPULATION) + 0.5) / _POPULATION
    return torch.searchsorted(share, middle.double()).clamp(max=len(counts) - 1).to(torch.uint8)
