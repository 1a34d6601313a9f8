"""The corrected operator on the CPU, in numba: vectorised along pixels, threads over tiles.

A tile is a piece of one slice of the image. Its Parzen weights, halo included, lie in one array
(bins, lanes): a lane is a pixel of the tile, rows one after another, so that any displacement is
a constant step along the lanes. For each pair of bins (a, b) and each offset,

    p(a, b) = box sum over the patch of w_x[a] · w_y[b, displaced]

is a handful of sums along lanes, one axis at a time, and −Σ p log2 p is added up lane by lane.
The kernels let go of the interpreter lock; the threads are plain Python ones, started per call
and as many as ``torch.get_num_threads()``. So the engine may be called from several threads at
once and from forked data loader workers, and no OpenMP runtime meets torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from chiasm.lmi.settings import LMISettings

# Lanes of a tile: enough to fill vectors, few enough for the first-level cache; and its columns.
LANES = 1024
COLUMNS = 128
# Standard deviations of the kernel beyond which weights (below 1e-9) are dropped.
REACH = 6.5
# Blocks of work per thread, so that threads end together although tiles differ.
BLOCKS_PER_THREAD = 4

# log2(1 + t) / t on the mantissa's range, [√½, √2) − 1: within 7e-7, a tenth of what MI may err.
_SERIES = (
    Chebyshev.interpolate(
        lambda t: np.log2(1 + t) / t, 6, domain=[np.sqrt(0.5) - 1, np.sqrt(2) - 1]
    )
    .convert(kind=Polynomial)
    .coef.astype(np.float32)
)
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = _SERIES
_SQRT_HALF = np.int32(np.float32(np.sqrt(0.5)).view(np.int32))
_MANTISSA = np.int32(23)


@njit(fastmath=True, nogil=True, cache=True)
def log2(p: float) -> np.float32:
    """log2 of a float32 ≥ 0, within 1e-6; some finite number for 0, so that 0 · log2(0) is 0."""
    # All integers stay 32 bits wide, else the loops around this would not vectorise.
    bits = np.float32(p).view(np.int32)
    exponent = np.int32(np.int32(bits - _SQRT_HALF) >> _MANTISSA)
    mantissa = np.int32(bits - np.int32(exponent << _MANTISSA)).view(np.float32)
    t = mantissa - np.float32(1)
    series = ((((((_C6 * t + _C5) * t + _C4) * t + _C3) * t + _C2) * t + _C1) * t) + _C0
    return np.float32(exponent) + t * series


# In the loops below an unsigned index spares numba's test for negative ones, and ``span``, a tuple
# as long as the patch, makes its length a constant of the compiled code: so they vectorise.


@njit(fastmath=True, nogil=True, cache=True)
def _sum_of_products(x, y, step, span, count, result):  # type: ignore[no-untyped-def]
    for i in range(count):
        total = np.float32(0)
        for k in range(len(span)):
            total += x[np.uint64(i + k * step)] * y[np.uint64(i + k * step)]
        result[i] = total


@njit(fastmath=True, nogil=True, cache=True)
def _box_sum(x, step, span, count, result):  # type: ignore[no-untyped-def]
    for i in range(count):
        total = x[i]
        for k in range(1, len(span)):
            total += x[np.uint64(i + k * step)]
        result[i] = total


@njit(fastmath=True, nogil=True, cache=True)
def _add_entropy(p, span, count, entropy):  # type: ignore[no-untyped-def]
    for i in range(count):
        total = p[i]
        for k in range(1, len(span)):
            total += p[np.uint64(i + k)]
        entropy[i] -= total * log2(total)


@njit(fastmath=True, nogil=True, cache=True)
def _joint_entropy(  # type: ignore[no-untyped-def]
    x, x_used, x_start, y, y_used, y_start, steps, span, count, scratch, entropy
):
    """Entropy, in bits, of the joint histograms of ``count`` pairs of patches.

    The first corners of the patches lie at the lanes from ``x_start`` and ``y_start`` on of the
    weights ``x`` and ``y`` (bins, lanes); ``steps`` lead to the next plane (0 in an image that has
    none) and the next row.
    """
    plane, row = steps
    summed, column, part = scratch
    wide = count + len(span) - 1
    tall = wide + (len(span) - 1) * row
    entropy[:count] = 0
    for a in range(len(x_used)):
        # Summed bin by bin: hundreds of terms added to one sum would lose the last digits.
        part[:count] = 0
        for b in range(len(y_used)):
            if not (x_used[a] and y_used[b]):
                continue
            p, q = x[a][x_start:], y[b][y_start:]
            if plane > 0:
                _sum_of_products(p, q, plane, span, tall, summed)
                _box_sum(summed, row, span, wide, column)
            else:
                _sum_of_products(p, q, row, span, wide, column)
            _add_entropy(column, span, count, part)
        for i in range(count):
            entropy[i] += part[i]


@njit(nogil=True, cache=True)
def _fill(image, corner, extent, bandwidth, scale, values, weights, used):  # type: ignore[no-untyped-def]
    """Lay a box of the image, its edge replicated, out as values and scaled Parzen weights."""
    bins = len(weights)
    width = bandwidth * (bins - 1)
    reach = math.ceil(REACH * width)
    kernel = np.exp(-0.5 * (np.arange(reach + 1) / width) ** 2)
    weights[:] = 0
    used[:] = False
    lane = 0
    for z in range(corner[0], corner[0] + extent[0]):
        plane = image[min(max(z, 0), image.shape[0] - 1)]
        for y in range(corner[1], corner[1] + extent[1]):
            row = plane[min(max(y, 0), image.shape[1] - 1)]
            for x in range(corner[2], corner[2] + extent[2]):
                value = row[min(max(x, 0), image.shape[2] - 1)]
                values[lane] = value
                # With t the distance to the nearest bin, exp(−½ (t − k)²/w²) for all k is, but for
                # a factor, kernel[k] · exp(t/w²)^k: two exponentials rather than one for each k.
                nearest = int(value * (bins - 1) + 0.5)
                slope = (value * (bins - 1) - nearest) / width**2
                first, last = max(nearest - reach, 0), min(nearest + reach, bins - 1)
                ratio, power, mass = math.exp(slope), math.exp(slope * (first - nearest)), 0.0
                for b in range(first, last + 1):
                    weight = kernel[abs(b - nearest)] * power
                    power *= ratio
                    weights[b, lane] = weight
                    mass += weight
                for b in range(first, last + 1):
                    weights[b, lane] *= scale / mass
                    used[b] = True
                lane += 1


@njit(nogil=True, cache=True)
def _mark_varied(values, steps, span, count, varied):  # type: ignore[no-untyped-def]
    """1 where the patch at a lane holds different values, 0 where it is constant."""
    plane, row = steps
    planes = len(span) if plane > 0 else 1
    varied[:count] = 0
    for i in range(planes):
        for j in range(len(span)):
            for k in range(len(span)):
                displaced = values[i * plane + j * row + k :]
                for lane in range(count):
                    if displaced[lane] != values[lane]:
                        varied[lane] = 1


@njit(fastmath=True, nogil=True, cache=True)
def _score_tiles(  # type: ignore[no-untyped-def]
    tiles, lanes, source, other, varied, patch, search, span, bins, bandwidth, normalized, result
):
    """Write the scores of the pixels of some tiles into ``result`` (B, offsets or 1, Z, Y, X).

    ``tiles`` as `_tiles` makes them, of at most so many ``lanes`` with their halo; ``patch`` and
    ``search`` are radii along (z, y, x); ``varied`` says where patches of the source are not
    constant. One slot for all offsets keeps the best.
    """
    halo = (patch[0] + search[0], patch[1] + search[1], patch[2] + search[2])
    share = np.float32(1 / len(span) ** (3 if patch[0] else 2))
    x, x_used = np.empty((bins, lanes), np.float32), np.empty(bins, np.bool_)
    y, y_used = np.empty((bins, lanes), np.float32), np.empty(bins, np.bool_)
    # Marginal entropies are joint ones with an image of one bin.
    one, one_used = np.ones((1, lanes), np.float32), np.ones(1, np.bool_)
    one_share = one * share
    hx, hy, hxy = np.empty_like(one[0]), np.empty_like(one[0]), np.empty_like(one[0])
    values, y_varied = np.empty_like(one[0]), np.empty_like(one[0])
    scratch = (np.empty_like(one[0]), np.empty_like(one[0]), np.empty_like(one[0]))
    origin = np.intp(0)
    for t in range(len(tiles)):
        batch, z, top, bottom, left, right = tiles[t]
        corner = (z - halo[0], top - halo[1], left - halo[2])
        extent = (1 + 2 * halo[0], bottom - top + 2 * halo[1], right - left + 2 * halo[2])
        row = extent[2]
        plane = extent[1] * row if patch[0] else 0
        steps = (plane, row)
        inner = search[0] * plane + search[1] * row + search[2]
        count = (bottom - top - 1) * row + right - left
        wider = count + 2 * search[1] * row + 2 * search[2]

        _fill(source[batch], corner, extent, bandwidth, share, values, x, x_used)
        _joint_entropy(x, x_used, inner, one, one_used, origin, steps, span, count, scratch, hx)
        _fill(other[batch], corner, extent, bandwidth, one[0, 0], values, y, y_used)
        for dz in range(2 * search[0] + 1):
            start = dz * plane
            into = hy[start:]
            _joint_entropy(
                one_share, one_used, origin, y, y_used, start, steps, span, wider, scratch, into
            )
            _mark_varied(values[start:], steps, span, wider, y_varied[start:])

        offset = 0
        for dz in range(2 * search[0] + 1):
            for dy in range(2 * search[1] + 1):
                for dx in range(2 * search[2] + 1):
                    start = dz * plane + dy * row + dx
                    _joint_entropy(
                        x, x_used, inner, y, y_used, start, steps, span, count, scratch, hxy
                    )
                    scores = result[batch, min(offset, result.shape[1] - 1), z]
                    for i in range(top, bottom):
                        for j in range(left, right):
                            lane = (i - top) * row + j - left
                            if not (varied[batch, z, i, j] and y_varied[start + lane]):
                                continue
                            total = hx[lane] + hy[start + lane]
                            score = max(total - hxy[lane], 0)
                            if normalized:
                                score = min(2 * score / total, 1)
                            scores[i, j] = max(scores[i, j], score)
                    offset += 1


def in_threads(kernel: Callable[..., None], items: np.ndarray, *arguments: Any) -> None:
    """Run ``kernel(block, *arguments)`` for blocks of items in ``torch.get_num_threads()`` threads.

    The kernel must let go of the interpreter lock, and write where no other block writes.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        kernel(items, *arguments)
        return
    blocks = np.array_split(items, min(len(items), threads * BLOCKS_PER_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda block: kernel(block, *arguments), blocks))


def _tiles(varied: np.ndarray) -> np.ndarray:
    """Pieces (batch, z, top, bottom, left, right) of slices that hold all that is True."""
    columns = min(varied.shape[3], COLUMNS)
    rows = max(LANES // columns, 1)
    tiles = []
    for batch, z, top in np.ndindex(*varied.shape[:2], -(-varied.shape[2] // rows)):
        bottom = min((top + 1) * rows, varied.shape[2])
        (filled,) = np.nonzero(varied[batch, z, top * rows : bottom].any(0))
        if filled.size:
            left, right = filled[0], filled[-1] + 1
            pieces = -(-(right - left) // columns)
            cuts = np.linspace(left, right, pieces + 1).astype(int)
            tiles += [(batch, z, top * rows, bottom, *cut) for cut in pairwise(cuts)]
    return np.array(tiles, np.int64).reshape(-1, 6)


class Corrected:
    """The corrected operator, prepared for one source.

    Keeps the clamped source, where its patches are not constant, and the tiles that hold those
    pixels: elsewhere the score is 0 whatever the other image. Parzen weights are laid out tile by
    tile in each call, about a twentieth of its time, so that memory beyond inputs and output is
    a few megabytes per thread whatever the size of the image.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        float32 on the CPU, no NaN; clamped to [0, 1].
    settings : LMISettings
    """

    def __init__(self, source: Tensor, settings: LMISettings) -> None:
        self.settings = settings
        self.deep = source.ndim == 4
        self.source = self._volumes(source)
        window = (1, *(2 * radius + 1 for radius in self._radii(settings.patch_size)))
        high = maximum_filter(self.source, window, mode="nearest")
        self.varied = high > minimum_filter(self.source, window, mode="nearest")
        self.tiles = _tiles(self.varied)

    def _volumes(self, images: Tensor) -> np.ndarray:
        clamped = images.clamp(0, 1)
        return (clamped if self.deep else clamped[:, None]).contiguous().numpy()

    def _radii(self, size: int) -> tuple[int, int, int]:
        radius = size // 2
        return (radius if self.deep else 0, radius, radius)

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores (B, 1, *spatial): the best; or (B, offsets, *spatial): those of all offsets."""
        settings = self.settings
        batch, *spatial = self.source.shape
        offsets = settings.offsets(other.ndim - 1) if every_offset else 1
        result = np.zeros((batch, offsets, *spatial), np.float32)
        patch, search = self._radii(settings.patch_size), self._radii(settings.search_size)
        halo = 2 * (np.array(patch) + search)
        sizes = self.tiles[:, 3::2] - self.tiles[:, 2::2] + halo[1:]
        lanes = int(sizes.prod(1).max(initial=0) * (1 + halo[0]))
        in_threads(
            _score_tiles, self.tiles, lanes, self.source, self._volumes(other), self.varied,
            patch, search, (0,) * settings.patch_size, settings.bins, float(settings.bandwidth),
            settings.normalized, result,
        )  # fmt: skip
        return torch.from_numpy(result).view(batch, offsets, *other.shape[1:])
