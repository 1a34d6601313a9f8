"""The gradient of the operator on the CPU, in numba, for a search size of 1.

With the weights and logarithms of `chiasm.lmi.torch_engine`, and patches P of K pixels, the score
s_P = 2 (H_x + H_y − H_xy) / (H_x + H_y) has the following gradient at the pixel j of the other
image:

    Σ_b slope_j[b] (Σ_a w_x[j, a] Σ_P∋j 2 c_P log p_P(a, b) − Σ_P∋j (2 − s_P) c_P log p_P(b))

Here c_P is the incoming gradient divided by K (H_x + H_y), and slope is ∂w_y/∂v. For scores in
bits, s_P is 1, c_P is the incoming gradient divided by K, and the factors 2 are omitted. The sums
p_P over the pixels of a patch and the sums over the patches of a pixel are box sums. Each pair of
bins needs two of them over the image, for any patch size. Slabs of the image are processed
separately in threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from chiasm.lmi.cpu import NumbaEngine, in_threads, log2, varied
from chiasm.lmi.settings import LMISettings

# Number of arrays of the size of a slab, in addition to the three that have an entry per bin.
_SCRATCH = 12


@njit(fastmath=True, nogil=True, cache=True)
def _box(values, patch, first, second, result):  # type: ignore[no-untyped-def]
    """Sums over patches by their first corner: (z, y, x) → (z − pz + 1, y − py + 1, x − px + 1).

    ``first`` and ``second`` are scratch memory, as large as ``values``.
    """
    depth, height, width = result.shape
    for z in range(values.shape[0]):
        for y in range(values.shape[1]):
            given, row = values[z, y], first[z, y]
            for i in range(width):
                row[i] = given[i]
            for k in range(1, patch[2]):
                for i in range(width):
                    row[i] += given[np.uint64(i + k)]
        for y in range(height):
            row = second[z, y]
            for i in range(width):
                row[i] = first[z, y, i]
            for k in range(1, patch[1]):
                given = first[z, y + k]
                for i in range(width):
                    row[i] += given[i]
    for z in range(depth):
        for y in range(height):
            row = result[z, y]
            for i in range(width):
                row[i] = second[z, y, i]
            for k in range(1, patch[0]):
                given = second[z + k, y]
                for i in range(width):
                    row[i] += given[i]


@njit(nogil=True, cache=True)
def _weigh(image, start, patch, bandwidth, weights, slopes):  # type: ignore[no-untyped-def]
    """Parzen weights (bins, z, y, x) of padded rows from ``start`` on, and their derivatives.

    Beyond the image, its edges are repeated. Values beyond [0, 1] are clamped, with derivative 0.
    """
    bins, depth, height, width = weights.shape
    for z in range(depth):
        plane = image[min(max(start + z - patch[0] // 2, 0), image.shape[0] - 1)]
        for y in range(height):
            row = plane[min(max(y - patch[1] // 2, 0), image.shape[1] - 1)]
            for x in range(width):
                value = row[min(max(x - patch[2] // 2, 0), image.shape[2] - 1)]
                free = 0 <= value <= 1
                value = min(max(value, np.float32(0)), np.float32(1))
                nearest = round(value * (bins - 1)) / (bins - 1)
                least = ((value - nearest) / bandwidth) ** 2
                mass, mean = 0.0, 0.0
                for b in range(bins):
                    centre = b / (bins - 1)
                    weight = np.exp(-0.5 * (((value - centre) / bandwidth) ** 2 - least))
                    weights[b, z, y, x] = weight
                    mass += weight
                    mean += weight * centre
                mean /= mass
                for b in range(bins):
                    weight = weights[b, z, y, x] / mass
                    weights[b, z, y, x] = weight
                    slope = weight * (b / (bins - 1) - mean) / bandwidth**2
                    slopes[b, z, y, x] = slope if free else 0


@njit(fastmath=True, nogil=True, cache=True)
def _entropy(weights, patch, share, boxes, result):  # type: ignore[no-untyped-def]
    """Write the entropy of every patch, in bits, to ``result``, given weights (bins, z, y, x)."""
    first, second, total = boxes
    result[:] = 0
    for b in range(len(weights)):
        _box(weights[b], patch, first, second, total)
        for z in range(result.shape[0]):
            for y in range(result.shape[1]):
                row, into = total[z, y], result[z, y]
                for i in range(len(row)):
                    p = row[i] * share
                    into[i] -= p * log2(p)


@njit(fastmath=True, nogil=True, cache=True)
def _spread(factor, total, share, patch, spread, boxes, result):  # type: ignore[no-untyped-def]
    """Write Σ_P∋j factor_P log2 p_P for every pixel j to ``result``; P are patches by centre.

    p is ``total`` times ``share``. The last of ``boxes`` is the view of ``spread`` at the centres;
    elsewhere ``spread`` is 0.
    """
    first, second, inner = boxes
    for z in range(total.shape[0]):
        for y in range(total.shape[1]):
            row, weight, into = total[z, y], factor[z, y], inner[z, y]
            for i in range(len(row)):
                into[i] = weight[i] * log2(row[i] * share)
    _box(spread, patch, first, second, result)


@njit(fastmath=True, nogil=True, cache=True)
def _gradient_slabs(  # type: ignore[no-untyped-def]
    slabs, source, other, by_score, patch, bins, bandwidth, normalized, result
):
    """Write the gradient at the padded rows (batch, first, end) of each slab into ``result``.

    ``by_score`` (B, Z, Y, X) is 0 at constant patches; ``result`` has the padded shape.
    """
    share = np.float32(1 / (patch[0] * patch[1] * patch[2]))
    _, rows, height, width = by_score.shape
    halo = (patch[0] - 1, patch[1] - 1, patch[2] - 1)
    for s in range(len(slabs)):
        batch, start, end = slabs[s]
        # The centres of patches that contain a pixel of the slab, and their padded rows.
        low, high = max(start - halo[0], 0), min(end, rows)
        count, depth = high - low, high - low + halo[0]
        shape = (depth, height + halo[1], width + halo[2])
        wx, wy = np.empty((bins, *shape), np.float32), np.empty((bins, *shape), np.float32)
        slopes = np.empty((bins, *shape), np.float32)
        _weigh(source[batch], low, patch, bandwidth, wx, slopes)
        _weigh(other[batch], low, patch, bandwidth, wy, slopes)
        # The centres with a margin of zeros, over which the sums for each pixel are taken.
        around = (end - start + halo[0], height + 2 * halo[1], width + 2 * halo[2])
        spread = np.zeros(around, np.float32)
        at = low - (start - halo[0])
        inner = spread[at : at + count, halo[1] : halo[1] + height, halo[2] : halo[2] + width]
        first, second = np.empty(around, np.float32), np.empty(around, np.float32)
        if depth > around[0]:
            first = np.empty((depth, around[1], around[2]), np.float32)
            second = np.empty((depth, around[1], around[2]), np.float32)
        centres = (count, height, width)
        total = np.empty(centres, np.float32)
        hx, hy = np.empty(centres, np.float32), np.empty(centres, np.float32)
        joint, factor = np.zeros(centres, np.float32), np.empty(centres, np.float32)
        _entropy(wx, patch, share, (first, second, total), hx)
        _entropy(wy, patch, share, (first, second, total), hy)
        for z in range(count):
            for y in range(height):
                for x in range(width):
                    both = hx[z, y, x] + hy[z, y, x]
                    factor[z, y, x] = by_score[batch, low + z, y, x] * share
                    if normalized:
                        factor[z, y, x] *= 2 / both if both > 0 else 0
        product = np.empty(shape, np.float32)
        pixels = (end - start, shape[1], shape[2])
        summed, column = np.empty(pixels, np.float32), np.empty(pixels, np.float32)
        into = result[batch, start:end]
        into[:] = 0
        off = start - low
        for b in range(bins):
            column[:] = 0
            for a in range(bins):
                for z in range(depth):
                    for y in range(shape[1]):
                        row, u, v = product[z, y], wx[a, z, y], wy[b, z, y]
                        for i in range(len(row)):
                            row[i] = u[i] * v[i]
                _box(product, patch, first, second, total)
                for z in range(count):
                    for y in range(height):
                        row, entropy = total[z, y], joint[z, y]
                        for i in range(len(row)):
                            p = row[i] * share
                            entropy[i] -= p * log2(p)
                _spread(factor, total, share, patch, spread, (first, second, inner), summed)
                for z in range(pixels[0]):
                    for y in range(pixels[1]):
                        row, u, v = column[z, y], wx[a, z + off, y], summed[z, y]
                        for i in range(len(row)):
                            row[i] += u[i] * v[i]
            for z in range(pixels[0]):
                for y in range(pixels[1]):
                    row, u, v = into[z, y], slopes[b, z + off, y], column[z, y]
                    for i in range(len(row)):
                        row[i] += u[i] * v[i]
        # The term of the other image's entropy has (2 − s) / 2 of this factor; in bits, all of it.
        if normalized:
            for z in range(count):
                for y in range(height):
                    for x in range(width):
                        both = hx[z, y, x] + hy[z, y, x]
                        score = 2 * (both - joint[z, y, x]) / both if both > 0 else 0
                        factor[z, y, x] *= 1 - score / 2
        for b in range(bins):
            _box(wy[b], patch, first, second, total)
            _spread(factor, total, share, patch, spread, (first, second, inner), summed)
            for z in range(pixels[0]):
                for y in range(pixels[1]):
                    row, u, v = into[z, y], slopes[b, z + off, y], summed[z, y]
                    for i in range(len(row)):
                        row[i] -= u[i] * v[i]


class NumbaGradient:
    """Scores of the operator by `NumbaEngine`, with a gradient by box sums.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        float32 on the CPU without NaN.
    settings : LMISettings
        The search size is 1 and the kernel is not narrow.
    memory : int
        Bytes that the backward pass may use in addition to its inputs, its output and a few
        arrays of their size. One plane of a volume (one row of an image), with the planes that
        its patches reach, may need more.
    engine : NumbaEngine
        The engine of the same source, which computes the scores.
    """

    def __init__(
        self, source: Tensor, settings: LMISettings, memory: int, engine: NumbaEngine
    ) -> None:
        self.settings, self.memory, self.engine = settings, memory, engine
        self.source = self._volumes(source)
        size = settings.patch_size
        self.patch = (size, size if source.ndim == 4 else 1, size)
        self.varied = varied(self.source, self.patch)

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores (B, 1, *spatial), differentiable in ``other``, float32 on the CPU."""
        return _Scores.apply(other, self)

    def _volumes(self, images: Tensor) -> np.ndarray:
        """The images as volumes (B, Z, Y, X); each row of a 2D image becomes a plane."""
        images = images.detach().float()
        return (images if images.ndim == 4 else images[:, :, None]).contiguous().numpy()

    def gradient(self, other: Tensor, by_score: Tensor) -> Tensor:
        """Gradient of Σ by_score · scores with respect to ``other``; both are (B, *spatial)."""
        images = self._volumes(other)
        weights = np.where(self.varied & varied(images, self.patch), self._volumes(by_score), 0)
        settings, radii = self.settings, tuple(size // 2 for size in self.patch)
        padded = tuple(n + 2 * r for n, r in zip(images.shape[1:], radii, strict=True))
        result = np.empty((len(images), *padded), np.float32)
        slabs, threads = self._slabs(len(images), padded)
        in_threads(
            _gradient_slabs, slabs, self.source, images, weights.astype(np.float32), self.patch,
            settings.bins, float(settings.bandwidth), settings.normalized, result, most=threads,
        )  # fmt: skip
        for axis, radius in enumerate(radii, start=1):
            result = _folded(result, axis, radius)
        return torch.from_numpy(np.ascontiguousarray(result)).view(other.shape)

    def _slabs(self, batch: int, padded: tuple[int, ...]) -> tuple[np.ndarray, int]:
        """Slabs of padded rows (batch, first, end), and how many of them fit the memory at once."""
        row = 4 * (3 * self.settings.bins + _SCRATCH) * padded[1] * padded[2]
        # A slab also needs the rows on both sides that its patches reach.
        halo = 2 * (self.patch[0] - 1)
        threads = min(torch.get_num_threads(), max(1, self.memory // ((1 + halo) * row)))
        most = max(1, self.memory // (threads * row) - halo)
        each = max(1, -(-batch * padded[0] // threads))
        step = min(most, each, padded[0])
        slabs = [
            (number, first, min(first + step, padded[0]))
            for number in range(batch)
            for first in range(0, padded[0], step)
        ]
        return np.array(slabs, np.int64), threads


def _folded(padded: np.ndarray, axis: int, radius: int) -> np.ndarray:
    """Add the gradient of the repeated edges to the pixels that were repeated."""
    if not radius:
        return padded
    before, inner, after = np.split(padded, [radius, padded.shape[axis] - radius], axis=axis)
    inner = inner.copy()
    np.moveaxis(inner, axis, 0)[0] += before.sum(axis)
    np.moveaxis(inner, axis, 0)[-1] += after.sum(axis)
    return inner


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, other: Tensor, gradient: NumbaGradient) -> Tensor:
        ctx.gradient = gradient
        ctx.save_for_backward(other)
        return gradient.engine(other.detach(), False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_score: Tensor) -> tuple[Tensor, None]:
        (other,) = ctx.saved_tensors
        return ctx.gradient.gradient(other, by_score[:, 0]), None
