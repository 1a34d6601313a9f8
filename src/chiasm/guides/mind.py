"""The modality-independent neighbourhood descriptor as a guide (Heinrich et al. 2012)."""

from __future__ import annotations

from typing import Literal

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from pydantic import Field
from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide

# Smallest variance estimate, as a share of the image's mean. In flat regions the descriptor would
# otherwise only show noise.
_FLAT = 1e-3


class MINDGuide(Guide):
    """The similarity of the patch around each voxel to its neighbours', scaled to [−1, 1].

    This is eq. 4 of Heinrich et al., "MIND: Modality independent neighbourhood descriptor for
    multi-modal deformable registration", Medical Image Analysis 2012. The search region is the
    nearest neighbours along every axis (4 in 2D, 6 in 3D). The descriptor does not change if
    intensities are scaled, shifted or inverted.

    Parameters
    ----------
    radius : int
        Distance of the neighbours, in voxels.
    sigma : float
        Standard deviation of the Gaussian weight of the patches, in voxels.
    """

    name: Literal["mind"] = "mind"
    radius: int = Field(default=1, ge=1)
    sigma: float = Field(default=0.5, gt=0, allow_inf_nan=False)

    def channels(self, images: int, spatial_dims: int) -> int:
        return images * 2 * spatial_dims

    def prepare(self, source: Tensor) -> PreparedGuide:
        batch, images, *spatial = source.shape
        # In half precision, the descriptor of flat regions would show rounding errors.
        with torch.autocast(source.device.type, enabled=False):
            flat = source.float().reshape(batch * images, 1, *spatial)
            descriptor = mind(flat, self.radius, self.sigma)
        shaped = descriptor.reshape(batch, -1, *spatial).to(source.dtype) * 2 - 1
        return lambda sample, time: shaped


def mind(image: Tensor, radius: int, sigma: float) -> Tensor:
    """The MIND descriptor, exp(−D_r / V), scaled so that the largest value of a voxel is 1.

    D_r is the Gaussian-weighted squared difference between the patch at a voxel and the patch at
    offset r. V is the mean of D_r over r, and at least a thousandth of its mean over the image.

    Parameters
    ----------
    image : Tensor, shape (N, 1, \\*spatial)
        Beyond the border, the voxels of the border are repeated.
    radius, sigma
        As in `MINDGuide`.

    Returns
    -------
    Tensor, shape (N, 2 axes, \\*spatial)
        In (0, 1]. For each axis, the first channel is the neighbour before the voxel and the
        second the neighbour after it.
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
    indices = torch.arange(size, device=image.device) + step
    return image.index_select(axis, indices.clamp(0, size - 1))
