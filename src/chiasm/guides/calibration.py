"""What the intensities of a source mean in the target, learned from the volume itself.

One slice rarely tells which contrast it has; the volume does, once it is translated. So a volume is
translated in passes: from one translation the *curve* is taken, the mean target intensity at each
source intensity, and the next pass is told the image mapped through it.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional


class CalibrationSettings(BaseModel):
    """How a curve is taken, and how it is varied in training.

    Parameters
    ----------
    nodes : int
        Of the curve, equally spaced on [0, 1].
    passes : int
        Translations of a volume; the first has no curve.
    dropout : float
        Share of the training samples that are given no curve, for the first pass.
    flattening : float
        In training, curves are drawn towards their mean by a share up to this: the curve of a
        first translation is flatter than the true one.
    ripple : float
        Standard deviation of a smooth error that is added to them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nodes: int = Field(default=25, ge=2)
    passes: int = Field(default=3, ge=1)
    dropout: float = Field(default=0.3, ge=0, le=1)
    flattening: float = Field(default=0.2, ge=0, le=1)
    ripple: float = Field(default=0.02, ge=0)


# Widths of the curve's smoothing on [0, 1]: close, and wide where few voxels are.
_CLOSE, _WIDE, _WIDE_WEIGHT = 0.04, 0.25, 1e-3


def curve_of(source: Tensor, target: Tensor, nodes: int) -> Tensor:
    """Mean target intensity at each source intensity (Nadaraya 1964), at equally spaced nodes.

    Parameters
    ----------
    source, target : Tensor, shape (B, N)
        Intensities of the same N ≥ 1 voxels, in [0, 1].
    nodes : int
        At least 2.

    Returns
    -------
    Tensor, shape (B, nodes)
        In [0, 1]; apply it with `chiasm.guides.randomise.intensity_map`.
    """
    position = source.clamp(0, 1) * (nodes - 1)
    left = position.floor().long().clamp(max=nodes - 2)
    right_share = position - left
    # Each voxel counts for the two nodes beside it.
    count = source.new_zeros((len(source), nodes))
    count = count.scatter_add(1, left, 1 - right_share).scatter_add(1, left + 1, right_share)
    total = source.new_zeros((len(source), nodes))
    total = total.scatter_add(1, left, (1 - right_share) * target)
    total = total.scatter_add(1, left + 1, right_share * target)
    place = torch.linspace(0, 1, nodes, device=source.device, dtype=source.dtype)
    apart = (place[:, None] - place) ** 2
    kernel = torch.exp(-apart / (2 * _CLOSE**2)) + _WIDE_WEIGHT * torch.exp(-apart / (2 * _WIDE**2))
    return (total @ kernel) / (count @ kernel)


def disturb(
    curve: Tensor, settings: CalibrationSettings, generator: torch.Generator | None = None
) -> Tensor:
    """True curves (B, nodes) as a translation would give them; some rows are `unknown`."""
    batch, nodes = curve.shape
    device = curve.device
    mean = curve.mean(dim=1, keepdim=True)
    share = 1 - settings.flattening * torch.rand((batch, 1), generator=generator)
    waves = torch.randn((batch, 1, 6), generator=generator) * settings.ripple
    ripple = functional.interpolate(waves, size=nodes, mode="linear", align_corners=True)[:, 0]
    seen = mean + share.to(device) * (curve - mean) + ripple.to(device)
    kept = torch.rand((batch, 1), generator=generator) >= settings.dropout
    return torch.where(kept.to(device), seen.clamp(0, 1), unknown(curve))


def unknown(curve: Tensor) -> Tensor:
    """The curve that says nothing: one half everywhere."""
    return torch.full_like(curve, 0.5)
