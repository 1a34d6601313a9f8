"""Local mutual information by its definition, in plain torch; the other engines must agree.

A patch has K values and a Parzen histogram of B bins. ``w[k, a]`` is the weight of value k in
bin a. The joint histogram is p(a, b) = Σ_k w_x[k, a] w_y[k, b], normalised to sum 1. Then
MI = H(x) + H(y) − H(x, y) in bits, and NMI = 2 MI / (H(x) + H(y)).

For quantile bins, the values are the ranks of the image's intensities (`ranks`) instead.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chiasm.lmi.settings import LMISettings


def ranks(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The ranks of an image's intensities in its foreground: the scale of quantile bins.

    The voxels of the foreground are numbered from 0 in the order of their intensity, and equal
    voxels share the mean of their numbers. The rank of a voxel is its number, divided by the
    largest number. It is ½ in a constant foreground.

    Parameters
    ----------
    image : array, any shape
        Finite intensities of one image.
    foreground : bool array, shape of the image

    Returns
    -------
    float64 array, shape of the image
        In [0, 1]. Between two neighbouring values of the foreground, ranks are interpolated
        linearly. Below the smallest value they are 0, and above the largest 1. They are 0
        everywhere if there is no foreground.
    """
    values, counts = np.unique(image[foreground], return_counts=True)
    if not values.size:
        return np.zeros(image.shape)
    numbers = counts.cumsum() - (counts + 1) / 2
    largest = counts.sum() - 1
    levels = numbers / largest if largest else np.full(1, 0.5)
    return np.interp(image, values, levels, left=0, right=1)


def parzen_weights(values: Tensor, settings: LMISettings) -> Tensor:
    """Kernel weights of every value in each bin.

    Parameters
    ----------
    values : Tensor, any shape
        Intensities; they are clamped to [0, 1].
    settings : LMISettings
        Bins and bandwidth.

    Returns
    -------
    Tensor, shape (*values.shape, bins)
        They sum to 1 over the bins.
    """
    centres = torch.linspace(0, 1, settings.bins, dtype=values.dtype, device=values.device)
    distance = (values.clamp(0, 1)[..., None] - centres) / settings.bandwidth
    return torch.softmax(-0.5 * distance**2, dim=-1)


def _joint(wx: Tensor, wy: Tensor) -> Tensor:
    # The sum is explicit, because matrix products may run in reduced precision on a GPU.
    joint = wx.new_zeros(wx.shape[0], wx.shape[2], wy.shape[2])
    for k in range(wx.shape[1]):
        joint.addcmul_(wx[:, k, :, None], wy[:, k, None, :])
    return joint


def _bits(p: Tensor) -> Tensor:
    return torch.special.entr(p).flatten(1).sum(1) / math.log(2)


def patch_scores(x: Tensor, y: Tensor, settings: LMISettings) -> Tensor:
    """Mutual information of pairs of patches.

    Parameters
    ----------
    x, y : Tensor, shape (N, K)
        Floating point values of N pairs of patches of K pixels. Their dtype is used throughout.
    settings : LMISettings
        Bins, bandwidth and normalisation; patch and search size are not used.

    Returns
    -------
    Tensor, shape (N,)
    """
    wx, wy = (parzen_weights(values, settings) for values in (x, y))
    joint = _joint(wx, wy) / x.shape[1]
    hx, hy = _bits(joint.sum(2)), _bits(joint.sum(1))
    mutual = (hx + hy - _bits(joint)).clamp(min=0)
    if settings.normalized:
        total = hx + hy
        mutual = torch.where(total > 0, 2 * mutual / total, 0).clamp(max=1)
    # A constant patch has no information. Its score is set to 0, independent of rounding.
    x, y = x.clamp(0, 1), y.clamp(0, 1)
    varied = (x != x[:, :1]).any(1) & (y != y[:, :1]).any(1)
    return torch.where(varied, mutual, 0)


def _patches(images: Tensor, size: int) -> Tensor:
    """Every patch of (B, *spatial) images by its first corner, as a view (B, *corners, *patch)."""
    for axis in range(1, images.ndim):
        images = images.unfold(axis, size, 1)
    return images


def _padded(images: Tensor, width: int) -> Tensor:
    """(B, *spatial) images with ``width`` more pixels on every side that repeat the edges."""
    widths = [width] * 2 * (images.ndim - 1)
    return functional.pad(images[:, None], widths, mode="replicate")[:, 0]


class Definition:
    """The operator by its definition. Pixels are processed in groups to limit memory.

    The computation uses float64 on the CPU and float32 elsewhere.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        Finite float32 intensities; values outside [0, 1] are clamped.
    settings : LMISettings
    pixels_at_once : int
        Number of pixels whose joint histograms are held at one time.
    """

    def __init__(self, source: Tensor, settings: LMISettings, pixels_at_once: int = 2048) -> None:
        self.settings = settings
        self.pixels_at_once = pixels_at_once
        self.shape = tuple(source.shape)
        self.dtype = torch.float64 if source.device.type == "cpu" else torch.float32
        size = settings.patch_size
        self.source = _patches(_padded(source, size // 2), size)

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores of the best offset, (B, 1, *spatial), or of all, (B, offsets, *spatial)."""
        size, search = self.settings.patch_size, self.settings.search_size
        others = _patches(_padded(other, size // 2 + search // 2), size)
        pixels = torch.arange(math.prod(self.shape), device=other.device)
        groups = [
            self._scores(others, group, every_offset) for group in pixels.split(self.pixels_at_once)
        ]
        return torch.cat(groups).unflatten(0, self.shape).movedim(-1, 1).float().contiguous()

    def _scores(self, others: Tensor, pixels: Tensor, every_offset: bool) -> Tensor:
        batch, *position = torch.unravel_index(pixels, self.shape)
        x = self.source[(batch, *position)].flatten(1).to(self.dtype)
        scores = []
        for offset in itertools.product(range(self.settings.search_size), repeat=len(position)):
            corner = [i + o for i, o in zip(position, offset, strict=True)]
            y = others[(batch, *corner)].flatten(1).to(self.dtype)
            scores.append(patch_scores(x, y, self.settings))
        stacked = torch.stack(scores, dim=-1)
        return stacked if every_offset else stacked.amax(-1, keepdim=True)
