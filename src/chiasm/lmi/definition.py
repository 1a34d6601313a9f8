"""What local mutual information is, in plain torch: for any device, and the engines' measure.

Notation: a patch of one image has K values, a Parzen histogram of them B bins. ``w[k, a]`` is the
weight that value k puts into bin a. Joint histogram p(a, b) = Σ_k w_x[k, a] w_y[k, b], normalised;
MI = H(x) + H(y) − H(x, y) in bits; NMI = 2 MI / (H(x) + H(y)).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional

from chiasm.lmi.settings import PUBLISHED_SIZE, LMISettings

# Added by the published layer to denominators and inside logarithms.
EPSILON = 1e-10
# Grey levels of the published layer: int(255 x).
LEVELS = 255


def grey_levels(values: Tensor) -> Tensor:
    """int(255 x), towards zero, in single precision as the published layer computes it."""
    # Far outside the histogram nothing has mass; the bound keeps infinities out of subtractions.
    return torch.trunc(LEVELS * values.float()).clamp(-1e6, 1e6)


def parzen_weights(values: Tensor, settings: LMISettings) -> Tensor:
    """Kernel weights of every value over the bins.

    Parameters
    ----------
    values : Tensor, any shape
        Intensities; the corrected variant clamps them to [0, 1].
    settings : LMISettings
        Bins, bandwidth and variant.

    Returns
    -------
    Tensor, shape (*values.shape, bins)
        Corrected: sums to 1 over the bins. Published: exp(−½ r²), not normalised.
    """
    centres = torch.linspace(0, 1, settings.bins, dtype=values.dtype, device=values.device)
    if settings.variant == "published":
        scaled = grey_levels(values).to(values.dtype)[..., None] - LEVELS * centres
        return torch.exp(-0.5 * (scaled / (LEVELS * settings.bandwidth)) ** 2)
    distance = (values.clamp(0, 1)[..., None] - centres) / settings.bandwidth
    return torch.softmax(-0.5 * distance**2, dim=-1)


def _joint(wx: Tensor, wy: Tensor) -> Tensor:
    # Summed term by term: matrix products may run in reduced precision on a GPU.
    joint = wx.new_zeros(wx.shape[0], wx.shape[2], wy.shape[2])
    for k in range(wx.shape[1]):
        joint.addcmul_(wx[:, k, :, None], wy[:, k, None, :])
    return joint


def _bits(p: Tensor) -> Tensor:
    return torch.special.entr(p).flatten(1).sum(1) / math.log(2)


def _corrected(x: Tensor, y: Tensor, settings: LMISettings) -> Tensor:
    wx, wy = (parzen_weights(values, settings) for values in (x, y))
    joint = _joint(wx, wy) / x.shape[1]
    hx, hy = _bits(joint.sum(2)), _bits(joint.sum(1))
    mutual = (hx + hy - _bits(joint)).clamp(min=0)
    if settings.normalized:
        total = hx + hy
        mutual = torch.where(total > 0, 2 * mutual / total, 0).clamp(max=1)
    # A constant patch tells nothing; its zero should not depend on rounding.
    x, y = x.clamp(0, 1), y.clamp(0, 1)
    varied = (x != x[:, :1]).any(1) & (y != y[:, :1]).any(1)
    return torch.where(varied, mutual, 0)


def _published(x: Tensor, y: Tensor, settings: LMISettings) -> Tensor:
    def entropy(mass: Tensor) -> Tensor:
        p = mass / (mass.sum(1, keepdim=True) + EPSILON)
        return -(p * torch.log2(p + EPSILON)).sum(1)

    wx, wy = (parzen_weights(values, settings) for values in (x, y))
    # The layer averages marginal masses and sums joint ones; against ε that is not the same.
    hx, hy, hxy = entropy(wx.mean(1)), entropy(wy.mean(1)), entropy(_joint(wx, wy).flatten(1))
    mutual = hx + hy - hxy
    return 2 * (mutual + EPSILON) / (hx + hy + EPSILON) if settings.normalized else mutual


def patch_scores(x: Tensor, y: Tensor, settings: LMISettings) -> Tensor:
    """Mutual information of pairs of patches.

    Parameters
    ----------
    x, y : Tensor, shape (N, K)
        Floating point values of N pairs of patches of K pixels; computed in their own dtype.
    settings : LMISettings
        Estimator and normalisation; patch and search size are not used.

    Returns
    -------
    Tensor, shape (N,)
    """
    return (_published if settings.variant == "published" else _corrected)(x, y, settings)


def _patches(images: Tensor, size: int) -> Tensor:
    """Every patch of (B, *spatial) images, by its first corner: a view (B, *corners, *patch)."""
    for axis in range(1, images.ndim):
        images = images.unfold(axis, size, 1)
    return images


def padded(images: Tensor, width: int, mode: str) -> Tensor:
    """(B, *spatial) images with ``width`` more pixels at every side; modes of `functional.pad`."""
    widths = [width] * 2 * (images.ndim - 1)
    return functional.pad(images[:, None], widths, mode=mode)[:, 0]


def mosaic(images: Tensor) -> Tensor:
    """(B, H, W) → (B, 3H + 2, 3W + 2): every pixel's zero-padded 3×3 patch as a block."""
    size = PUBLISHED_SIZE
    batch, height, width = images.shape
    patches = _patches(padded(images, size // 2, "constant"), size)
    blocks = patches.transpose(2, 3).reshape(batch, size * height, size * width)
    return padded(blocks, size // 2, "constant")


class Definition:
    """The operator by its definition, pixels in groups so that memory is bounded.

    Computes in float64 on the CPU, in float32 elsewhere.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        Finite float32 intensities, [0, 1] where they mean something.
    settings : LMISettings
    pixels_at_once : int
        Pixels whose joint histograms are held at one time.
    """

    def __init__(self, source: Tensor, settings: LMISettings, pixels_at_once: int = 2048) -> None:
        self.settings = settings
        self.pixels_at_once = pixels_at_once
        self.shape = tuple(source.shape)
        self.published = settings.variant == "published"
        self.dtype = torch.float64 if source.device.type == "cpu" else torch.float32
        size = settings.patch_size
        mode = "constant" if self.published else "replicate"
        self.source = _patches(padded(source, size // 2, mode), size)

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores (B, 1, *spatial): the best; or (B, offsets, *spatial): those of all offsets."""
        size, search = self.settings.patch_size, self.settings.search_size
        if self.published:
            others = _patches(mosaic(other), size)
        else:
            others = _patches(padded(other, size // 2 + search // 2, "replicate"), size)
        pixels = torch.arange(math.prod(self.shape), device=other.device)
        groups = [
            self._scores(others, group, every_offset) for group in pixels.split(self.pixels_at_once)
        ]
        return torch.cat(groups).unflatten(0, self.shape).movedim(-1, 1).float().contiguous()

    def _scores(self, others: Tensor, pixels: Tensor, every_offset: bool) -> Tensor:
        batch, *place = torch.unravel_index(pixels, self.shape)
        x = self.source[(batch, *place)].flatten(1).to(self.dtype)
        step = PUBLISHED_SIZE if self.published else 1
        scores = []
        for offset in itertools.product(range(self.settings.search_size), repeat=len(place)):
            corner = [step * i + o for i, o in zip(place, offset, strict=True)]
            y = others[(batch, *corner)].flatten(1).to(self.dtype)
            scores.append(patch_scores(x, y, self.settings))
        stacked = torch.stack(scores, dim=-1)
        return stacked if every_offset else stacked.amax(-1, keepdim=True)
