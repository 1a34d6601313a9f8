"""The operator on the CPU in numba, vectorised along pixels and with threads over tiles.

Every image is treated as a volume (z, y, x); a 2D image has one plane. A tile is a box of the
volume. The Parzen weights of a tile and its halo lie in one array (bins, lanes). A lane is a pixel
of the tile, row after row, so that every displacement is a constant step along the lanes. Lanes
are scored in runs of two vectors. For each run, offset and pair of bins (a, b),

    p(a, b) = box sum over the patch of w_x[a] · w_y[b, displaced]

is a product of vectors for each row of the patch, followed by a sum of displaced vectors along x.
−Σ p log2 p is accumulated in each lane. Bins without weight in a run are skipped. The kernels
release the interpreter lock and run in ``torch.get_num_threads()`` Python threads that each call
starts. The engine can therefore be called from several threads at once and from forked data
loader workers, and it adds no second OpenMP runtime to that of torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from chiasm.lmi.settings import LMISettings

# Largest tile (z, y, x) of an image and of a volume, whose weights fit the second-level cache.
TILES = {2: (1, 16, 128), 3: (4, 8, 64)}
# Bins of the other image that are used together, so that they fit the first-level cache.
BINS = 9
# Lanes of a vector. LLVM splits vectors for shorter registers. A run is two vectors.
VECTOR = 16
# Weights beyond this many standard deviations of the kernel are dropped. They are below q = 2e-8
# of the largest, so that a joint entropy is too small by at most 1e-6 bits (a few q log2(1/q)).
REACH = 6
# Blocks of work per thread, so that threads finish at about the same time although tiles differ.
BLOCKS_PER_THREAD = 4


def _logarithm(degree: int) -> tuple[np.float32, ...]:
    """Coefficients of log2(1.5 + t) − ½ − t on [−½, ½]: log2 minus its chord from 1 to 2."""
    series = Chebyshev.interpolate(lambda t: np.log2(1.5 + t) - 0.5 - t, degree, domain=[-0.5, 0.5])
    return tuple(series.convert(kind=Polynomial).coef.astype(np.float32))


# The errors are at most 2.5e-6 and 4e-7.
_FAST = [float(coefficient) for coefficient in _logarithm(6)]
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7 = _logarithm(7)
_ONE = np.int32(np.float32(1).view(np.int32))
_MANTISSA = np.int32(2**23 - 1)
_STEP = np.float32(2.0**-23)


@njit(fastmath=True, nogil=True, cache=True)
def log2(p: float) -> np.float32:
    """log2 of a float32 ≥ 0 within 2e-6; finite for 0, so that 0 · log2(0) is 0."""
    # All integers must be 32 bits wide, or the surrounding loops would not be vectorised.
    bits = np.float32(p).view(np.int32)
    line = np.float32(np.int32(bits - _ONE)) * _STEP
    t = np.int32(np.int32(bits & _MANTISSA) | _ONE).view(np.float32) - np.float32(1.5)
    bump = ((((((_C7 * t + _C6) * t + _C5) * t + _C4) * t + _C3) * t + _C2) * t + _C1) * t + _C0
    return line + bump


class _Vectors:
    """Generates instructions for vectors of float32; ``builder`` inserts them."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.floats = ir.VectorType(ir.FloatType(), VECTOR)
        self.doubles = ir.VectorType(ir.DoubleType(), VECTOR)
        self.integers = ir.VectorType(ir.IntType(32), VECTOR)

    def every(self, value: float, kind: ir.Type | None = None) -> ir.Constant:
        return ir.Constant(kind or self.floats, [value] * VECTOR)

    def _pointer(self, kind: ir.Type, data: ir.Value, index: ir.Value) -> ir.Value:
        return self.builder.bitcast(self.builder.gep(data, [index]), kind.as_pointer())

    def load(self, data: ir.Value, index: ir.Value) -> ir.Value:
        return self.builder.load(self._pointer(self.floats, data, index), align=4)

    def subtract(self, vector: ir.Value, data: ir.Value, index: ir.Value) -> None:
        """Subtract from float64 in memory, because long sums in float32 lose the last digits."""
        pointer = self._pointer(self.doubles, data, index)
        after = self.builder.fsub(
            self.builder.load(pointer, align=8), self.builder.fpext(vector, self.doubles)
        )
        self.builder.store(after, pointer, align=8)

    def add(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.fadd(x, y, flags=("fast",))

    def times(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.fmul(x, y, flags=("fast",))

    def shifted(self, x: ir.Value, y: ir.Value, lanes: int) -> ir.Value:
        """The lanes of x from lane ``lanes`` on, followed by those of y."""
        order = [ir.Constant(ir.IntType(32), lane + lanes) for lane in range(VECTOR)]
        return self.builder.shuffle_vector(x, y, ir.Constant(self.integers, order))

    def log2(self, p: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The two terms of log2, as in the function `log2`, within 4e-6.

        The first must be multiplied by `_STEP`. The terms are summed separately, because their
        sum would have a larger rounding error.
        """
        build, integers = self.builder, self.integers
        bits = build.bitcast(p, integers)
        line = build.sitofp(build.sub(bits, self.every(int(_ONE), integers)), self.floats)
        mantissa = build.and_(bits, self.every(int(_MANTISSA), integers))
        mantissa = build.bitcast(build.or_(mantissa, self.every(int(_ONE), integers)), self.floats)
        t = self.add(mantissa, self.every(-1.5))
        bump = self.every(_FAST[-1])
        for coefficient in _FAST[-2::-1]:
            bump = self.add(self.times(bump, t), self.every(coefficient))
        return line, bump


@intrinsic
def _subtract_plogp(typing, x, a, y, first, last, rows, span, entropy):  # type: ignore[no-untyped-def]
    """Subtract Σ_b p(a, b) log2 p(a, b), b from ``first`` to ``last``, from a run's entropies.

    ``x`` and ``y`` are weights in the layout of `_gather`, with ``len(rows)`` rows for each bin.
    ``entropy``, float64, has the lanes of a run; the last ``len(span) − 1`` lanes are not valid.

    Compilers vectorise loops over such short runs poorly and do not keep values in registers, so
    the instructions are generated here. The weights of the source stay in registers for all b.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vectors = _Vectors(builder)
        number = ir.IntType(64)
        _, a, _, first, last, _, _, _ = arguments
        count, length = signature.args[5].count, signature.args[6].count

        def data(position):  # type: ignore[no-untyped-def]
            kind = signature.args[position]
            return context.make_array(kind)(context, builder, arguments[position]).data

        def both(array, row):  # type: ignore[no-untyped-def]
            """The two vectors of a row of a run."""
            start = builder.mul(row, number(2 * VECTOR))
            return [
                vectors.load(array, builder.add(start, number(half * VECTOR))) for half in range(2)
            ]

        source, other, result = data(0), data(2), data(7)
        top = builder.mul(a, number(count))
        source_rows = [both(source, builder.add(top, number(row))) for row in range(count)]
        zero = vectors.every(0.0)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(2)]
        with cgutils.for_range(builder, last, start=first, intp=number) as loop:
            top = builder.mul(loop.index, number(count))
            columns = [zero, zero]
            for row, xs in enumerate(source_rows):
                ys = both(other, builder.add(top, number(row)))
                for half in range(2):
                    columns[half] = vectors.add(columns[half], vectors.times(xs[half], ys[half]))
            for half in range(2):
                p = columns[half]
                for k in range(1, length):
                    p = vectors.add(p, vectors.shifted(columns[half], columns[1], k))
                for slot, term in zip(sums[half], vectors.log2(p), strict=True):
                    builder.store(vectors.add(builder.load(slot), vectors.times(p, term)), slot)
        for half, (line, bump) in enumerate(sums):
            total = vectors.times(builder.load(line), vectors.every(float(_STEP)))
            total = vectors.add(total, builder.load(bump))
            vectors.subtract(total, result, number(half * VECTOR))
        return context.get_dummy_value()

    return types.void(x, a, y, first, last, rows, span, entropy), generate


# Below, ``patch`` is the size of a patch along (z, y, x), and ``steps`` are the lanes to the next
# plane and the next row. Unsigned indices avoid numba's test for negative ones, so that the loops
# can be vectorised.


@njit(fastmath=True, nogil=True, cache=True)
def _entropies(weights, steps, count, patch, total, result):  # type: ignore[no-untyped-def]
    """Entropy, in bits, of the patches whose first corners are the first ``count`` lanes.

    ``result`` is float64, because long sums in single precision lose the last digits. ``total`` is
    scratch memory.
    """
    share = np.float32(1 / (patch[0] * patch[1] * patch[2]))
    # A multiple of the step of the compiled loop, whose remainder may round differently.
    count = (count + 31) // 32 * 32
    result[:count] = 0
    for b in range(len(weights)):
        total[:count] = 0
        for z in range(patch[0]):
            for y in range(patch[1]):
                for x in range(patch[2]):
                    step = z * steps[0] + y * steps[1] + x
                    for i in range(count):
                        total[i] += weights[b, np.uint64(i + step)]
        for i in range(count):
            p = total[i] * share
            result[i] -= p * log2(p)


@njit(nogil=True, cache=True)
def _mark_varied(values, steps, count, patch, varied):  # type: ignore[no-untyped-def]
    """1 for each lane that is the first corner of a patch with different values, else 0."""
    varied[:count] = 0
    for z in range(patch[0]):
        for y in range(patch[1]):
            for x in range(patch[2]):
                step = z * steps[0] + y * steps[1] + x
                for i in range(count):
                    if values[np.uint64(i + step)] != values[i]:
                        varied[i] = 1


@njit(nogil=True, cache=True)
def _fill(image, corner, extent, steps, bandwidth, values, weights, used):  # type: ignore[no-untyped-def]
    """Fill in the values and the Parzen weights (sum 1) of a box of the image.

    Beyond the image, its edge is repeated. ``used`` gets a bit for every bin in which a lane has
    weight. Neighbouring bins share a bit if there are more than 64.
    """
    bins = len(weights)
    shift = _shift(bins)
    width = bandwidth * (bins - 1)
    kernel = np.exp(-0.5 * (np.arange(int(REACH * width) + 2) / width) ** 2)
    weights[:] = 0
    used[:] = 0
    for k in range(extent[0]):
        plane = image[min(max(corner[0] + k, 0), image.shape[0] - 1)]
        for j in range(extent[1]):
            row = plane[min(max(corner[1] + j, 0), image.shape[1] - 1)]
            for i in range(extent[2]):
                lane = k * steps[0] + j * steps[1] + i
                value = row[min(max(corner[2] + i, 0), image.shape[2] - 1)]
                value = min(max(value, np.float32(0)), np.float32(1))
                values[lane] = value
                # If t is the distance to the nearest bin, exp(−½ (t − k)²/w²) is proportional to
                # kernel[k] · exp(t/w²)^k, which needs two exponentials instead of one for each k.
                position = value * (bins - 1)
                nearest = int(position + 0.5)
                first = max(math.ceil(position - REACH * width), 0)
                last = min(math.floor(position + REACH * width), bins - 1)
                slope = (position - nearest) / width**2
                ratio, power, mass = math.exp(slope), math.exp(slope * (first - nearest)), 0.0
                for b in range(first, last + 1):
                    weight = kernel[abs(b - nearest)] * power
                    power *= ratio
                    weights[b, lane] = weight
                    mass += weight
                bits = np.uint64(0)
                for b in range(first, last + 1):
                    weights[b, lane] /= mass
                    bits |= np.uint64(1) << np.uint64(b >> shift)
                used[lane] = bits


@njit(nogil=True, cache=True)
def _shift(bins):  # type: ignore[no-untyped-def]
    shift = 0
    while (bins - 1) >> shift > 63:
        shift += 1
    return shift


@njit(nogil=True, cache=True)
def _gather(weights, used, start, steps, patch, result, found):  # type: ignore[no-untyped-def]
    """Copy the weights of the run that begins at lane ``start``, for the bins with weight.

    For each of these bins, ``result`` gets the lanes of the run in every row of the patches.
    ``found`` gets the indices of these bins. Returns the number of these bins.
    """
    bits = np.uint64(0)
    for z in range(patch[0]):
        for y in range(patch[1]):
            for i in range(2 * VECTOR):
                bits |= used[np.uint64(start + z * steps[0] + y * steps[1] + i)]
    shift, count, into = _shift(len(weights)), 0, 0
    for b in range(len(weights)):
        if bits >> np.uint64(b >> shift) & np.uint64(1):
            found[count] = b
            count += 1
            for z in range(patch[0]):
                for y in range(patch[1]):
                    lane = start + z * steps[0] + y * steps[1]
                    for i in range(2 * VECTOR):
                        result[np.uint64(into + i)] = weights[b, np.uint64(lane + i)]
                    into += 2 * VECTOR
    return count


@njit(nogil=True, cache=True)
def _cache_lines(count):  # type: ignore[no-untyped-def]
    """An array of ``count`` float32 that begins at a cache line, for faster loads."""
    line = 64
    spare = np.empty(count + line // 4, np.float32)
    start = (line - spare.ctypes.data % line) % line // 4
    return spare[start : start + count]


@njit(nogil=True, cache=True)
def _buffers(bins, lanes):  # type: ignore[no-untyped-def]
    """Arrays for the values, weights and used bins of the lanes of a tile."""
    weights = np.zeros((bins, lanes), np.float32)
    return np.zeros(lanes, np.float32), weights, np.zeros(lanes, np.uint64)


@njit(nogil=True, cache=True)
def _geometry(tile, radii):  # type: ignore[no-untyped-def]
    """The first pixel and extent of a tile with its halo, and the steps along its lanes."""
    _, z, y, x, depth, height, width = tile
    corner = (z - radii[0], y - radii[1], x - radii[2])
    extent = (depth + 2 * radii[0], height + 2 * radii[1], width + 2 * radii[2])
    return corner, extent, (extent[1] * extent[2], extent[2])


@njit(nogil=True, cache=True)
def _source_tiles(tiles, lanes, source, patch, bins, bandwidth, result):  # type: ignore[no-untyped-def]
    """Write the entropies of the patches of several tiles into ``result`` (B, Z, Y, X)."""
    radii = (patch[0] // 2, patch[1] // 2, patch[2] // 2)
    values, weights, used = _buffers(bins, lanes)
    total, entropy = np.empty(lanes, np.float32), np.empty(lanes, np.float64)
    for t in range(len(tiles)):
        batch, z, y, x, depth, height, width = tiles[t]
        corner, extent, steps = _geometry(tiles[t], radii)
        _fill(source[batch], corner, extent, steps, bandwidth, values, weights, used)
        count = (depth - 1) * steps[0] + (height - 1) * steps[1] + width
        _entropies(weights, steps, count, patch, total, entropy)
        for k in range(depth):
            for j in range(height):
                lane = k * steps[0] + j * steps[1]
                result[batch, z + k, y + j, x : x + width] = entropy[lane : lane + width]


@njit(fastmath=True, nogil=True, cache=True)
def _score_tiles(  # type: ignore[no-untyped-def]
    tiles, lanes, slice_lanes, source, entropies, other, varied, patch, search, rows, span, bins,
    bandwidth, normalized, result
):  # fmt: skip
    """Write the scores of the pixels of several tiles into ``result`` (B, offsets or 1, Z, Y, X).

    If ``result`` has one slot for all offsets, the best score is kept. ``tiles`` are made by
    `_tiles`. ``lanes`` and ``slice_lanes`` are the largest numbers of lanes of a tile and of a
    slice of it, halo included. ``search`` is a radius along (z, y, x). ``rows`` and ``span`` are
    tuples as long as the patch has rows and columns, because compiled code must know these
    numbers. ``varied`` marks the pixels whose score is wanted and whose patch in the source is not
    constant.
    """
    radii = (patch[0] // 2 + search[0], patch[1] // 2 + search[1], patch[2] // 2 + search[2])
    share = np.float32(1 / (patch[0] * patch[1] * patch[2]))
    values, x_weights, x_used = _buffers(bins, lanes)
    _, y_weights, y_used = _buffers(bins, lanes)
    xs = _cache_lines(bins * len(rows) * 2 * VECTOR)
    ys, found = _cache_lines(len(xs)), np.empty(bins, np.int64)
    y_varied, hy = np.empty(lanes, np.uint8), np.empty(lanes, np.float64)
    wanted = np.empty(slice_lanes, np.uint8)
    hx = np.empty(lanes, np.float32)  # also used as scratch memory
    scores = np.empty((result.shape[1], slice_lanes), np.float32)
    hxy = np.empty(2 * VECTOR, np.float64)
    # The patches of the last lanes of a run are not complete, so these lanes are not scored.
    run = 2 * VECTOR - (patch[2] - 1)
    for t in range(len(tiles)):
        batch, z, y, x, depth, height, width = tiles[t]
        corner, extent, steps = _geometry(tiles[t], radii)
        plane, row = steps
        _fill(source[batch], corner, extent, steps, bandwidth, values, x_weights, x_used)
        x_weights *= share
        _fill(other[batch], corner, extent, steps, bandwidth, values, y_weights, y_used)
        count = (depth + 2 * search[0] - 1) * plane
        count += (height + 2 * search[1] - 1) * row + width + 2 * search[2]
        _entropies(y_weights, steps, count, patch, hx, hy)
        _mark_varied(values, steps, count, patch, y_varied)
        for k in range(depth):
            wanted[:] = 0
            scores[:] = 0
            for j in range(height):
                start = j * row
                wanted[start : start + width] = varied[batch, z + k, y + j, x : x + width]
                hx[start : start + width] = entropies[batch, z + k, y + j, x : x + width]
            first, end = 0, (height - 1) * row + width
            while first < end:
                if not wanted[first]:
                    first += 1
                    continue
                last = min(first + run, end)
                x_lane = (k + search[0]) * plane + search[1] * row + search[2] + first
                x_count = _gather(x_weights, x_used, x_lane, steps, patch, xs, found)
                offset = 0
                for dz in range(2 * search[0] + 1):
                    for dy in range(2 * search[1] + 1):
                        for dx in range(2 * search[2] + 1):
                            y_lane = (k + dz) * plane + dy * row + dx + first
                            y_count = _gather(y_weights, y_used, y_lane, steps, patch, ys, found)
                            hxy[:] = 0
                            n = 0
                            while n < y_count:
                                # The same groups of bins are always used together, so that
                                # rounding does not depend on the run.
                                m, stop = n, (found[n] // BINS + 1) * BINS
                                while m < y_count and found[m] < stop:
                                    m += 1
                                for a in range(x_count):
                                    _subtract_plogp(  # type: ignore[call-arg]
                                        xs, a, ys, n, m, rows, span, hxy
                                    )
                                n = m
                            best = scores[min(offset, len(scores) - 1)]
                            for lane in range(first, last):
                                at = y_lane + lane - first
                                if wanted[lane] and y_varied[at]:
                                    total = hx[lane] + hy[at]
                                    score = max(total - hxy[lane - first], 0.0)
                                    if normalized:
                                        score = min(2 * score / total, 1.0)
                                    best[lane] = max(best[lane], np.float32(score))
                            offset += 1
                first = last
            for j in range(height):
                start = j * row
                into = result[batch, :, z + k, y + j, x : x + width]
                into[:] = scores[:, start : start + width]


def in_threads(
    kernel: Callable[..., None], items: np.ndarray, *arguments: Any, most: int | None = None
) -> None:
    """Run ``kernel(block, *arguments)`` for blocks of items in ``torch.get_num_threads()`` threads.

    The kernel must release the interpreter lock. Different blocks must not write to the same
    memory. ``most`` limits the number of threads.
    """
    threads = min(torch.get_num_threads(), len(items), most or len(items))
    if threads < 2:
        kernel(items, *arguments)
        return
    blocks = np.array_split(items, min(len(items), threads * BLOCKS_PER_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda block: kernel(block, *arguments), blocks))


def _tiles(wanted: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes (batch, z, y, x, depth, height, width) that contain all True pixels."""
    tiles = []
    counts = [-(-size // step) for size, step in zip(wanted.shape[1:3], shape, strict=False)]
    for batch, i, j in np.ndindex(wanted.shape[0], *counts):
        z, y = i * shape[0], j * shape[1]
        slab = wanted[batch, z : z + shape[0], y : y + shape[1]]
        (filled,) = np.nonzero(slab.any((0, 1)))
        if filled.size:
            for x in range(filled[0], filled[-1] + 1, shape[2]):
                width = min(shape[2], filled[-1] + 1 - x)
                tiles.append((batch, z, y, x, *slab.shape[:2], width))
    return np.array(tiles, np.int64).reshape(-1, 7)


def varied(volumes: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Whether each patch of (B, Z, Y, X), clamped to [0, 1], has different values."""
    clamped, size = volumes.clip(0, 1), (1, *patch)
    high = maximum_filter(clamped, size, mode="nearest")
    return high > minimum_filter(clamped, size, mode="nearest")


class NumbaEngine:
    """The operator for one source.

    The engine keeps the source, the entropies of its patches, which pixels have a patch that is
    not constant, and the tiles that contain these pixels. The score of all other pixels is 0 for
    any other image. Each call computes the Parzen weights tile by tile, which takes a few percent
    of its time. The working memory therefore does not grow with the image.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        float32 on the CPU without NaN; values are clamped to [0, 1].
    settings : LMISettings
        The patch size must be less than the lanes of two vectors.
    memory : int
        Bytes of working memory of all threads together. A single thread may need more.
    mask : Tensor of bool, shape of source, optional
        The pixels to score; the score of the others is 0.
    """

    def __init__(
        self, source: Tensor, settings: LMISettings, memory: int, mask: Tensor | None = None
    ) -> None:
        self.settings = settings
        self.dimensions = source.ndim - 1
        self.source = self._volumes(source)
        self.search = self._radii(settings.search_size)
        self.patch = tuple(2 * radius + 1 for radius in self._radii(settings.patch_size))
        self.varied = varied(self.source, self.patch)
        if mask is not None:
            self.varied &= self._volumes(mask)
        self._plan(memory)
        self.entropies = np.zeros(self.source.shape, np.float32)
        in_threads(
            _source_tiles, self.tiles, self.lanes, self.source, self.patch,
            settings.bins, float(settings.bandwidth), self.entropies, most=self.threads,
        )  # fmt: skip

    def _volumes(self, images: Tensor) -> np.ndarray:
        return (images if images.ndim == 4 else images[:, None]).contiguous().numpy()

    def _radii(self, size: int) -> tuple[int, int, int]:
        radius = size // 2
        return (radius if self.dimensions == 3 else 0, radius, radius)

    def _plan(self, memory: int) -> None:
        """Choose the tiles, and the number of threads for which there is memory."""
        limits = zip(TILES[self.dimensions], self.source.shape[1:], strict=True)
        shape = tuple(min(limit) for limit in limits)
        threads = torch.get_num_threads()
        while self._bytes(shape) * threads > memory and shape[1] > 1:
            shape = (shape[0] // 2, *shape[1:]) if shape[0] > 1 else (1, shape[1] // 2, shape[2])
        self.lanes, self.slice_lanes = self._lanes(shape), self._slice_lanes(shape)
        self.threads = max(1, memory // self._bytes(shape))
        self.tiles = _tiles(self.varied, shape)

    def _lanes(self, shape: tuple[int, ...]) -> int:
        halos = np.array(self.patch) - 1 + 2 * np.array(self.search)
        # The last run extends beyond the end of the last row.
        return int(np.prod(np.array(shape) + halos)) + 2 * VECTOR

    def _slice_lanes(self, shape: tuple[int, ...]) -> int:
        return shape[1] * (shape[2] + self.patch[2] - 1 + 2 * self.search[2])

    def _bytes(self, shape: tuple[int, ...]) -> int:
        # The weights of two images, and 40 bytes per lane for values, used bins, entropies etc.
        tile = self._lanes(shape) * (2 * 4 * self.settings.bins + 40)
        offsets = self.settings.offsets(self.dimensions)
        runs = 2 * 4 * self.settings.bins * self.patch[0] * self.patch[1] * 2 * VECTOR
        return tile + runs + 4 * offsets * self._slice_lanes(shape)

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores of the best offset, (B, 1, *spatial), or of all, (B, offsets, *spatial)."""
        settings = self.settings
        batch, *spatial = self.source.shape
        offsets = settings.offsets(other.ndim - 1) if every_offset else 1
        result = np.zeros((batch, offsets, *spatial), np.float32)
        in_threads(
            _score_tiles, self.tiles, self.lanes, self.slice_lanes, self.source, self.entropies,
            self._volumes(other), self.varied, self.patch, self.search,
            (0,) * (self.patch[0] * self.patch[1]), (0,) * self.patch[2], settings.bins,
            float(settings.bandwidth), settings.normalized, result, most=self.threads,
        )  # fmt: skip
        return torch.from_numpy(result).view(batch, offsets, *other.shape[1:])
