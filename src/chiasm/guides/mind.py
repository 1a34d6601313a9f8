"""The modality-independent neighbourhood descriptor as a guide (Heinrich et al. 2012)."""

from __future__ import annotations

from typing import Literal

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from pydantic import Field
from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide

# Share of the image's mean variance below which a place counts as flat, so that what is told of
# it is not its noise.
_FLAT = 1e-3


class MINDGuide(Guide):
    """How like each voxel's surroundings are to those beside it; [0, 1] → [−1, 1].

    Heinrich et al., "MIND: Modality independent neighbourhood descriptor for multi-modal
    deformable registration", Medical Image Analysis 2012, eq. 4, with the nearest neighbours along
    every axis as search region (4 in 2D, 6 in 3D). Intensities that are stretched, shifted or
    inverted leave it as it is.

    Parameters
    ----------
    radius : int
        Distance of the neighbours, in voxels.
    sigma : float
        Standard deviation of the Gaussian that weighs the patches, in voxels.
    """

    name: Literal["mind"] = "mind"
    radius: int = Field(default=1, ge=1)
    sigma: float = Field(default=0.5, gt=0, allow_inf_nan=False)

    def channels(self, images: int, spatial_dims: int) -> int:
        return images * 2 * spatial_dims

    def prepare(self, source: Tensor) -> PreparedGuide:
        batch, images, *spatial = source.shape
        # Half precision would tell flat places' rounding.
        with torch.autocast(source.device.type, enabled=False):
            flat = source.float().reshape(batch * images, 1, *spatial)
            descriptor = mind(flat, self.radius, self.sigma)
        shaped = descriptor.reshape(batch, -1, *spatial).to(source.dtype) * 2 - 1
        return lambda sample, time: shaped


def mind(image: Tensor, radius: int, sigma: float) -> Tensor:
    """The descriptor: exp(−D_r / V), scaled so that the largest of a voxel's values is 1.

    D_r is the squared difference of the patch here and the patch at r, under a Gaussian; V the
    mean of D_r over r, at least a thousandth of its mean over the image.

    Parameters
    ----------
    image : Tensor, shape (N, 1, \\*spatial)
        Edges are replicated.
    radius, sigma
        As in `MINDGuide`.

    Returns
    -------
    Tensor, shape (N, 2 axes, \\*spatial)
        In (0, 1]; of each axis the neighbour before, then the one behind.
    """
    axes = range(2, image.ndim)
    moved = [_moved(image, axis, step) for axis in axes for step in (-radius, radius)]
    difference = (image - torch.cat(moved, dim=1)) ** 2
    weights = gaussian_1d(torch.tensor(sigma), approx="sampled", normalize=True)
    distance = separable_filtering(difference, [weights] * len(axes), mode="replicate")
    variance = distance.mean(1, keepdim=True)
    least = _FLAT * variance.mean(tuple(axes), keepdim=True)
    variance = torch.maximum(variance, least).clamp(min=torch.finfo(image.dtype).tiny)
    return torch.exp((distance.amin(1, keepdim=True) - distance) / variance)


def _moved(image: Tensor, axis: int, step: int) -> Tensor:
    size = image.shape[axis]
    places = torch.arange(size, device=image.device) + step
    return image.index_select(axis, places.clamp(0, size - 1))
