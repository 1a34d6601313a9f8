"""The intensity mapping (transfer function) from a source to its target, measured in the volume.

One slice rarely shows which contrast it has, but a whole volume does. A volume is therefore
translated in refinement iterations. After each one, the intensity mapping is measured: the mean
target intensity at each source intensity. The next iteration also sees the source mapped through
it.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional


class IntensityMappingSettings(BaseModel):
    """How an intensity mapping is measured, and how it is varied in training.

    Parameters
    ----------
    nodes : int
        The mapping is known at this many intensities, equally spaced on [0, 1].
    iterations : int
        Refinement iterations of a volume. The first one has no mapping.
    dropout : float
        Share of the training samples without a mapping, as in the first iteration.
    flattening : float
        In training, mappings are moved towards their mean by at most this share, because the
        mapping of a first translation is flatter than the true one.
    ripple : float
        Standard deviation of a smooth error that is added to the mappings in training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nodes: int = Field(default=25, ge=2)
    iterations: int = Field(default=3, ge=1)
    dropout: float = Field(default=0.3, ge=0, le=1)
    flattening: float = Field(default=0.2, ge=0, le=1)
    ripple: float = Field(default=0.02, ge=0)


# Widths of the smoothing on [0, 1]; the wide one matters where there are few voxels.
_CLOSE, _WIDE, _WIDE_WEIGHT = 0.04, 0.25, 1e-3


def measured_mapping(source: Tensor, target: Tensor, nodes: int) -> Tensor:
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
        In [0, 1]. `chiasm.augment.contrast.intensity_map` applies it.
    """
    position = source.clamp(0, 1) * (nodes - 1)
    left = position.floor().long().clamp(max=nodes - 2)
    right_share = position - left
    # Each voxel is shared between the two nearest nodes.
    count = source.new_zeros((source.shape[0], nodes))
    count = count.scatter_add(1, left, 1 - right_share).scatter_add(1, left + 1, right_share)
    total = source.new_zeros((source.shape[0], nodes))
    total = total.scatter_add(1, left, (1 - right_share) * target)
    total = total.scatter_add(1, left + 1, right_share * target)
    node = torch.linspace(0, 1, nodes, device=source.device, dtype=source.dtype)
    apart = (node[:, None] - node) ** 2
    kernel = torch.exp(-apart / (2 * _CLOSE**2)) + _WIDE_WEIGHT * torch.exp(-apart / (2 * _WIDE**2))
    return (total @ kernel) / (count @ kernel)


def disturb(
    mapping: Tensor, settings: IntensityMappingSettings, generator: torch.Generator | None = None
) -> Tensor:
    """Add errors to true mappings (B, nodes) as a translation would; some become `unknown`."""
    batch, nodes = mapping.shape
    device = mapping.device
    mean = mapping.mean(dim=1, keepdim=True)
    share = 1 - settings.flattening * torch.rand((batch, 1), generator=generator)
    waves = torch.randn((batch, 1, 6), generator=generator) * settings.ripple
    ripple = functional.interpolate(waves, size=nodes, mode="linear", align_corners=True)[:, 0]
    seen = mean + share.to(device) * (mapping - mean) + ripple.to(device)
    kept = torch.rand((batch, 1), generator=generator) >= settings.dropout
    return torch.where(kept.to(device), seen.clamp(0, 1), unknown(mapping))


def unknown(mapping: Tensor) -> Tensor:
    """The mapping of the first iteration, which is one half everywhere."""
    return torch.full_like(mapping, 0.5)
