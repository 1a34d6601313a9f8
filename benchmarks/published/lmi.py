"""Local mutual information as it was published: the layer of Wang et al., arXiv 2404.01102.

The layer is reproduced with its two defects, so that it can be compared with `chiasm.lmi`. Its
windows straddle the patches of neighbouring pixels, and a score is near 2 where the other image has
no Parzen mass. It knows two-dimensional images alone, and patches and searches of 3 × 3 pixels.

On the CPU it runs in numba, vectorised along pixels, in threads over runs of them. With
J = Σ w_x w_y unnormalised and S its sum, the layer's p = J/(S + ε) has

    −Σ p log2(p + ε) = (log2(S + ε) · S − Σ J log2(J + ε (S + ε))) / (S + ε),

so that one pass over the bins suffices, since S is known from the masses of the pixels. On other
devices, and for kernels narrower than 0.4 of the bins' spacing, it runs in plain torch.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.lmi import LMISettings
from chiasm.lmi.cpu import in_threads, log2

# Pixels along the side of a patch, and of the window of offsets.
SIDE = 3
OFFSETS = SIDE**2
# The layer adds it to denominators and inside logarithms.
EPSILON = 1e-10
# The layer's grey levels are int(255 x).
LEVELS = 255
# Pixels that are computed together.
RUN = 256
# Standard deviations of the kernel beyond which weights (below 1e-18) are dropped: far less than ε,
# and no product of two is denormal, which would be slow.
REACH = 9.1


def prepare(
    source: Any, *, bins: int = 27, bandwidth: float = 8 / 255, normalized: bool = True
) -> PreparedSource:
    """Do once what depends on the source alone.

    Parameters
    ----------
    source : array or Tensor, shape (H, W) or (B, 1, H, W)
        Floating point intensities, without NaN. Those far outside [0, 1] have no Parzen mass.
    bins, bandwidth, normalized
        As in `chiasm.lmi.LMISettings`.

    Returns
    -------
    PreparedSource

    Raises
    ------
    UsageError
        The source has another shape, is not floating point or holds NaN; or a setting is illegal.
    """
    return PreparedSource(
        source, LMISettings(bins=bins, bandwidth=bandwidth, normalized=normalized)
    )


def local_mutual_information(source: Any, other: Any, **settings: Any) -> Any:
    """Best score of every pixel's patch, shape of the source; arguments as in `prepare`."""
    return prepare(source, **settings)(other)


class PreparedSource:
    """One source, ready to be scored against other images; made by `prepare`."""

    def __init__(self, source: Any, settings: LMISettings) -> None:
        images = _images("source", source)
        self.settings = settings
        self.shape = tuple(source.shape)
        if images.device.type == "cpu" and not settings.narrow:
            self.engine: NumbaEngine | TorchEngine = NumbaEngine(images, settings)
        else:
            device = torch.device("cpu") if settings.narrow else images.device
            self.engine = TorchEngine(images.to(device), settings)

    def __call__(self, other: Any, *, reduce: str = "max") -> Any:
        """Score the source against another image.

        Parameters
        ----------
        other : array or Tensor, shape of the source
        reduce : {"max", "none"}
            Keep the best offset's score, or those of all nine offsets.

        Returns
        -------
        array or Tensor, float32
            ``"max"``: the source's shape. ``"none"``: (9, H, W) or (B, 9, H, W).

        Raises
        ------
        UsageError
            ``other`` has another shape, is not floating point or holds NaN; ``reduce`` is unknown.
        """
        if reduce not in ("max", "none"):
            raise UsageError(explain("reduce", reduce, "is not known", "max, none"))
        images = _images("other", other)
        if tuple(other.shape) != self.shape:
            what = "is not the shape of the source"
            raise UsageError(explain("other", tuple(other.shape), what, str(self.shape)))
        placed = images.cpu() if self.settings.narrow else images
        scores = self.engine(placed, reduce == "none").to(images.device)
        if reduce == "max":
            scores = scores.reshape(self.shape)
        elif len(self.shape) == 2:
            scores = scores[0]
        return scores.numpy() if isinstance(other, np.ndarray) else scores


def _images(argument: str, array: Any) -> Tensor:
    """The array as float32 images (B, H, W), on its own device."""
    legal = "a floating point array or tensor of shape (H, W) or (B, 1, H, W), without NaN"
    if not isinstance(array, np.ndarray | Tensor):
        raise UsageError(explain(argument, type(array).__name__, "is not an array", legal))
    shape = tuple(array.shape)
    if not (len(shape) == 2 or (len(shape) == 4 and shape[1] == 1)) or 0 in shape:
        raise UsageError(explain(argument, shape, "is no shape of two-dimensional images", legal))
    tensor = torch.as_tensor(np.array(array) if isinstance(array, np.ndarray) else array).detach()
    if not tensor.is_floating_point():
        raise UsageError(explain(argument, tensor.dtype, "is not floating point", legal))
    if tensor.isnan().any():
        raise UsageError(explain(argument, "array", "holds NaN", legal))
    return tensor.float().reshape(-1, *shape[-2:])


def grey_levels(values: Tensor) -> Tensor:
    """int(255 x), towards zero, in single precision as the published layer computes it."""
    # Far outside the histogram nothing has mass; the bound keeps infinities out of subtractions.
    return torch.trunc(LEVELS * values.float()).clamp(-1e6, 1e6)


def parzen_weights(values: Tensor, settings: LMISettings) -> Tensor:
    """Kernel weights exp(−½ r²), which are not normalised: (*values.shape, bins)."""
    centres = torch.linspace(0, 1, settings.bins, dtype=values.dtype, device=values.device)
    scaled = grey_levels(values).to(values.dtype)[..., None] - LEVELS * centres
    return torch.exp(-0.5 * (scaled / (LEVELS * settings.bandwidth)) ** 2)


def patch_scores(x: Tensor, y: Tensor, settings: LMISettings) -> Tensor:
    """Mutual information of pairs of patches, (N, K) each, in their own precision: (N,)."""

    def entropy(mass: Tensor) -> Tensor:
        p = mass / (mass.sum(1, keepdim=True) + EPSILON)
        return -(p * torch.log2(p + EPSILON)).sum(1)

    wx, wy = (parzen_weights(values, settings) for values in (x, y))
    # Summed term by term: matrix products may run in reduced precision on a GPU.
    joint = wx.new_zeros(wx.shape[0], wx.shape[2], wy.shape[2])
    for k in range(wx.shape[1]):
        joint.addcmul_(wx[:, k, :, None], wy[:, k, None, :])
    # The layer averages marginal masses and sums joint ones; against ε that is not the same.
    hx, hy, hxy = entropy(wx.mean(1)), entropy(wy.mean(1)), entropy(joint.flatten(1))
    mutual = hx + hy - hxy
    return 2 * (mutual + EPSILON) / (hx + hy + EPSILON) if settings.normalized else mutual


def _padded(images: Tensor) -> Tensor:
    """(B, H, W) images with a border of zeros, one pixel wide."""
    return functional.pad(images, [SIDE // 2] * 4)


def _patches(images: Tensor) -> Tensor:
    """Every 3×3 patch of (B, H, W) images, by its first corner: a view (B, H − 2, W − 2, 3, 3)."""
    return images.unfold(1, SIDE, 1).unfold(2, SIDE, 1)


def mosaic(images: Tensor) -> Tensor:
    """(B, H, W) → (B, 3H + 2, 3W + 2): every pixel's zero-padded 3×3 patch as a block."""
    batch, height, width = images.shape
    blocks = _patches(_padded(images)).transpose(2, 3)
    return _padded(blocks.reshape(batch, SIDE * height, SIDE * width))


class TorchEngine:
    """The layer by its definition, in float64 on the CPU and in float32 elsewhere.

    Parameters
    ----------
    source : Tensor, shape (B, H, W)
        float32, no NaN.
    settings : LMISettings
    pixels_at_once : int
        Pixels whose joint histograms are held at one time.
    """

    def __init__(self, source: Tensor, settings: LMISettings, pixels_at_once: int = 2048) -> None:
        self.settings = settings
        self.pixels_at_once = pixels_at_once
        self.shape = tuple(source.shape)
        self.dtype = torch.float64 if source.device.type == "cpu" else torch.float32
        self.source = _patches(_padded(source))

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores (B, 1, H, W): the best; or (B, 9, H, W): those of all offsets."""
        others = _patches(mosaic(other))
        pixels = torch.arange(math.prod(self.shape), device=other.device)
        groups = [
            self._scores(others, some, every_offset) for some in pixels.split(self.pixels_at_once)
        ]
        return torch.cat(groups).unflatten(0, self.shape).movedim(-1, 1).float().contiguous()

    def _scores(self, others: Tensor, pixels: Tensor, every_offset: bool) -> Tensor:
        batch, i, j = torch.unravel_index(pixels, self.shape)
        x = self.source[batch, i, j].flatten(1).to(self.dtype)
        scores = []
        for u, v in product(range(SIDE), repeat=2):
            y = others[batch, SIDE * i + u, SIDE * j + v].flatten(1).to(self.dtype)
            scores.append(patch_scores(x, y, self.settings))
        stacked = torch.stack(scores, dim=-1)
        return stacked if every_offset else stacked.amax(-1, keepdim=True)


@njit(nogil=True, cache=True)
def _fill(cells, table, lowest, lane, weights, mass, used):  # type: ignore[no-untyped-def]
    """Weights (bins, cells · lanes) and masses (cells · lanes) of one lane's grey levels."""
    for i in range(cells.shape[0]):
        for j in range(cells.shape[1]):
            level = min(max(cells[i, j] - lowest, 0), len(table) - 1)
            cell = (i * cells.shape[1] + j) * RUN + lane
            total = np.float32(0)
            for b in range(table.shape[1]):
                weights[b, cell] = table[level, b]
                total += table[level, b]
                used[b] |= table[level, b] > 0
            mass[cell] = total


# ``side``, a tuple as long as the patch is wide, makes its length a constant of the compiled code;
# an unsigned index spares numba's test for negative ones: so these loops vectorise.


@njit(fastmath=True, nogil=True, cache=True)
def _sum_of_products(x, y, side, result):  # type: ignore[no-untyped-def]
    """Σ over the cells of a window of two bins' weights (cells · lanes), lane by lane."""
    for lane in range(len(result)):
        total = np.float32(0)
        for i in range(len(side)):
            for j in range(len(side)):
                p, q = (i * len(side) + j) * RUN, (i * (len(side) + 2) + j) * RUN
                total += x[np.uint64(lane + p)] * y[np.uint64(lane + q)]
        result[lane] = total


@njit(fastmath=True, nogil=True, cache=True)
def _add_entropy(mass, floor, result):  # type: ignore[no-untyped-def]
    for lane in range(len(mass)):
        result[lane] += mass[lane] * log2(mass[lane] + floor[lane])


@njit(fastmath=True, nogil=True, cache=True)
def _entropy(x, y, first, times, side, scratch, result):  # type: ignore[no-untyped-def]
    """Entropy, in bits, of joint histograms whose denominator is S + ``times`` · ε."""
    (x_weights, x_mass, x_used), (y_weights, y_mass, y_used) = x, y
    joint, floor, part = scratch
    lanes = len(result)
    _sum_of_products(x_mass, y_mass[first * RUN :], side, joint)
    for lane in range(lanes):
        denominator = joint[lane] + np.float32(times * EPSILON)
        floor[lane] = np.float32(EPSILON) * denominator
        result[lane] = joint[lane] * log2(denominator)
    for a in range(len(x_used)):
        part[:] = 0
        for b in range(len(y_used)):
            if x_used[a] and y_used[b]:
                _sum_of_products(x_weights[a], y_weights[b][first * RUN :], side, joint)
                _add_entropy(joint, floor, part)
        for lane in range(lanes):
            result[lane] -= part[lane]
    for lane in range(lanes):
        result[lane] *= np.float32(EPSILON) / floor[lane]


@njit(nogil=True, cache=True)
def _buffers(cells, bins):  # type: ignore[no-untyped-def]
    """Weights (bins, cells · lanes), masses (cells · lanes), and which bins hold any weight."""
    weights = np.zeros((bins, cells * RUN), np.float32)
    return weights, np.zeros_like(weights[0]), np.zeros(bins, np.bool_)


@njit(nogil=True, cache=True)
def _score_pixels(pixels, source, cells, table, lowest, side, normalized, result):  # type: ignore[no-untyped-def]
    """Write the scores of some pixels, numbered through the batch, into ``result``."""
    patch, wide = len(side), len(side) + 2
    bins, (height, width) = table.shape[1], result.shape[2:]
    x = _buffers(patch * patch, bins)
    y = _buffers(wide * wide, bins)
    # Marginal histograms are joint ones with an image of one bin.
    ones = np.ones((1, wide * wide * RUN), np.float32)
    one = (ones, ones[0], np.ones(1, np.bool_))
    hx, hy, hxy = np.empty(RUN, np.float32), np.empty(RUN, np.float32), np.empty(RUN, np.float32)
    scratch = (np.empty_like(hx), np.empty_like(hx), np.empty_like(hx))
    for start in range(0, len(pixels), RUN):
        run = pixels[start : start + RUN]
        x[2][:] = False
        y[2][:] = False
        for lane in range(len(run)):
            batch, place = divmod(run[lane], height * width)
            i, j = divmod(place, width)
            corner = source[batch, i : i + patch, j : j + patch]
            _fill(corner, table, lowest, lane, x[0], x[1], x[2])
            i, j = patch * i, patch * j
            _fill(cells[batch, i : i + wide, j : j + wide], table, lowest, lane, y[0], y[1], y[2])
        # The layer averages marginal masses: its ε there is one for each pixel of the patch.
        _entropy(x, one, np.intp(0), patch * patch, side, scratch, hx)
        for offset in range(patch * patch):
            cell = offset // patch * wide + offset % patch
            _entropy(one, y, cell, patch * patch, side, scratch, hy)
            _entropy(x, y, cell, np.intp(1), side, scratch, hxy)
            slot = min(offset, result.shape[1] - 1)
            for lane in range(len(run)):
                batch, place = divmod(run[lane], height * width)
                i, j = divmod(place, width)
                total = hx[lane] + hy[lane]
                score = total - hxy[lane]
                if normalized:
                    score = 2 * (score + EPSILON) / (total + EPSILON)
                result[batch, slot, i, j] = max(result[batch, slot, i, j], score)


class NumbaEngine:
    """The layer on the CPU, in numba.

    Parameters
    ----------
    source : Tensor, shape (B, H, W)
        float32, on the CPU, no NaN.
    settings : LMISettings
    """

    def __init__(self, source: Tensor, settings: LMISettings) -> None:
        self.settings = settings
        self.shape = tuple(source.shape)
        self.source = self._cells(_padded(grey_levels(source)))
        deviation = LEVELS * settings.bandwidth
        self.lowest = -math.ceil(REACH * deviation) - 1
        levels = np.arange(self.lowest, LEVELS - self.lowest + 1)
        distance = (levels[:, None] - np.linspace(0, LEVELS, settings.bins)) / deviation
        # The first and the last level stand for all beyond, which have no weight.
        kernel = np.where(abs(distance) < REACH, np.exp(-0.5 * distance**2), 0)
        self.table = kernel.astype(np.float32)

    @staticmethod
    def _cells(levels: Tensor) -> np.ndarray:
        return levels.int().contiguous().numpy()

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores (B, 1, H, W): the best; or (B, 9, H, W): those of all windows."""
        offsets = OFFSETS if every_offset else 1
        result = np.full((self.shape[0], offsets, *self.shape[1:]), -np.inf, np.float32)
        pixels = np.arange(math.prod(self.shape))
        in_threads(
            _score_pixels, pixels, self.source, self._cells(mosaic(grey_levels(other))),
            self.table, self.lowest, (0,) * SIDE, self.settings.normalized, result,
        )  # fmt: skip
        return torch.from_numpy(result)
