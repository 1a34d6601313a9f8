"""The operator on a GPU, in Triton.

A program is one warp. It scores 32 pixels at one offset, and each thread scores one pixel. A tile
of ``TILE × TILE`` bins of the joint histogram stays in the registers of the thread during the loop
over the patch. Then −Σ p log2 p of the tile is added to the joint entropy. Parzen weights are
computed where they are used, from two numbers per pixel,

    w(a) = 2^(n − (t − a · step)²),    t the scaled value and n = −log2 of the kernel's mass,

because computing the sixteen weights for the 64 products of a tile takes about as long as loading
them, and no table (bins, pixels) needs to be stored. Tiles of bins without weight in the patches
of the warp are skipped, and so are pixels whose patches are constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.lmi.settings import LMISettings

try:
    import triton
    import triton.language as tl
except ImportError as error:
    what, legal = "needs the package triton, which is not installed", "pip install triton"
    raise UsageError(explain("engine", "triton", what, legal)) from error

# Pixels of a program, one per thread, and the side of a tile of bins. The tile, the weights and
# the addresses fit the registers of a thread.
LANES = 32
TILE = 8
# Standard deviations of the kernel beyond which weights (below 1e-9) are dropped.
REACH = 6.5
# Number of 4-byte values that are held for each pixel of a part of the other image: its values,
# the mass of the kernel, entropies, temporaries, and the same part of the source.
NUMBERS = 10


@triton.jit
def _corner(pixel, planes, rows, columns, HALO: tl.constexpr, DEEP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Index where the window of a pixel begins in an array that is HALO larger on every side."""
    column, row = pixel % columns, pixel // columns % rows
    plane, item = pixel // (columns * rows) % planes, pixel // (columns * rows * planes)
    deep: tl.constexpr = 2 * HALO if DEEP else 0
    row += (item * (planes + deep) + plane) * (rows + 2 * HALO)
    return row * (columns + 2 * HALO) + column


@triton.jit
def _step(row, rows, columns, SIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Step from the beginning of a window to the beginning of its row number ``row``."""
    return (row // SIDE * rows + row % SIDE) * columns


@triton.jit
def _log2(p):  # type: ignore[no-untyped-def]
    """log2 of a float32 ≥ 0 within 1e-6; finite for 0, so that 0 · log2(0) is 0."""
    # This takes half as many instructions as the library function, which is exact to the last
    # digit and handles special values. The series interpolates log2(1 + t) / t at the Chebyshev
    # nodes of the range of the mantissa, [√½, √2) − 1.
    bits = p.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) >> 23
    t = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1
    series = 0.168186591 * t - 0.267963871
    series = series * t + 0.296119557
    series = series * t - 0.359524455
    series = series * t + 0.480613125
    series = series * t - 0.721360179
    series = series * t + 1.44269652
    return exponent.to(tl.float32) + t * series


@triton.jit
def _of_shares(entropy, mass):  # type: ignore[no-untyped-def]
    """−Σ p log2 p of shares p with sum 1, given −Σ q log2 q of q = p · mass."""
    mass = mass * 1.0
    return entropy / mass + tl.log2(mass)


@triton.jit
def _range(values, corner, rows, columns, SIDE: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Lowest and highest value of the patch of each lane."""
    low = tl.load(values + corner)
    high = low
    for row in range(ROWS):
        start = values + corner + _step(row, rows, columns, SIDE)
        for k in tl.static_range(SIDE):
            value = tl.load(start + k)
            low, high = tl.minimum(low, value), tl.maximum(high, value)
    return low, high


@triton.jit
def _bins_reached(low, high, bins, step, reach):  # type: ignore[no-untyped-def]
    """The first bin, and one past the last, in which values of these lanes have weight."""
    first = tl.maximum((tl.min(low, 0) - reach) / step, 0.0).to(tl.int32)
    last = tl.minimum(((tl.max(high, 0) + reach) / step).to(tl.int32) + 1, bins)
    return first, last


@triton.jit
def _weights(value, norm, first, last, step, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Parzen weights (TILE, lanes) of the bins from ``first`` on; they are 0 from ``last`` on."""
    bins = first + tl.arange(0, TILE)
    centres = tl.where(bins < last, bins * step, 1e6)
    distance = value[None, :] - centres[:, None]
    return tl.exp2(norm[None, :] - distance * distance)


@triton.jit
def _marginal_kernel(  # type: ignore[no-untyped-def]
    values, norms, result, pixels, planes, rows, columns, bins, step, reach,
    DEEP: tl.constexpr, PATCH: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """Entropy of the grey values of every patch, in bits; 0 for constant patches."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    pixel = tl.minimum(lane, pixels - 1)
    corner = _corner(pixel, planes, rows, columns, PATCH // 2, DEEP)
    tall, wide = rows + PATCH - 1, columns + PATCH - 1
    low, high = _range(values, corner, tall, wide, PATCH, ROWS)
    first, last = _bins_reached(low, high, bins, step, reach)
    entropy = tl.zeros([LANES], tl.float32)
    for a in range(first, last, TILE):
        mass = tl.zeros([TILE, LANES], tl.float32)
        for row in range(ROWS):
            at = corner + _step(row, tall, wide, PATCH)
            for k in tl.static_range(PATCH):
                value, norm = tl.load(values + at + k), tl.load(norms + at + k)
                mass += _weights(value, norm, a, last, step, TILE)
        entropy -= tl.sum(mass * _log2(mass), 0)
    entropy = _of_shares(entropy, PATCH * ROWS)
    tl.store(result + lane, tl.where(low < high, entropy, 0.0), lane < pixels)


@triton.jit
def _score_kernel(  # type: ignore[no-untyped-def]
    x_values, x_norms, x_entropy, y_values, y_norms, y_entropy, result,
    pixels, planes, rows, columns, slots, pixels_of_slot, bins, step, reach,
    DEEP: tl.constexpr, PATCH: tl.constexpr, SEARCH: tl.constexpr, ROWS: tl.constexpr,
    NORMALIZED: tl.constexpr, TILE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Raise ``result`` (items, 1 or offsets, pixels) to the scores of one offset if higher."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    offset = tl.program_id(1)
    pixel = tl.minimum(lane, pixels - 1)
    at = _corner(pixel, planes, rows, columns, SEARCH // 2, DEEP)
    at += _step(offset // SEARCH, rows + SEARCH - 1, columns + SEARCH - 1, SEARCH) + offset % SEARCH
    hx, hy = tl.load(x_entropy + pixel), tl.load(y_entropy + at)
    varied = (hx > 0) & (hy > 0)
    if tl.max(varied.to(tl.int32), 0) == 0:
        return

    x_rows, x_columns = rows + PATCH - 1, columns + PATCH - 1
    y_rows, y_columns = x_rows + SEARCH - 1, x_columns + SEARCH - 1
    x_corner = _corner(pixel, planes, rows, columns, PATCH // 2, DEEP)
    y_corner = _corner(pixel, planes, rows, columns, PATCH // 2 + SEARCH // 2, DEEP)
    y_corner += _step(offset // SEARCH, y_rows, y_columns, SEARCH) + offset % SEARCH
    low, high = _range(x_values, x_corner, x_rows, x_columns, PATCH, ROWS)
    x_first, x_last = _bins_reached(low, high, bins, step, reach)
    low, high = _range(y_values, y_corner, y_rows, y_columns, PATCH, ROWS)
    y_first, y_last = _bins_reached(low, high, bins, step, reach)

    entropy = tl.zeros([LANES], tl.float32)
    for a in range(x_first, x_last, TILE):
        for b in range(y_first, y_last, TILE):
            joint = tl.zeros([TILE, TILE, LANES], tl.float32)
            for row in range(ROWS):
                x_at = x_corner + _step(row, x_rows, x_columns, PATCH)
                y_at = y_corner + _step(row, y_rows, y_columns, PATCH)
                # Unrolled, so that the addresses of a row are part of the instructions.
                for k in tl.static_range(PATCH):
                    x, x_norm = tl.load(x_values + x_at + k), tl.load(x_norms + x_at + k)
                    y, y_norm = tl.load(y_values + y_at + k), tl.load(y_norms + y_at + k)
                    wx = _weights(x, x_norm, a, x_last, step, TILE)
                    wy = _weights(y, y_norm, b, y_last, step, TILE)
                    joint += wx[:, None, :] * wy[None, :, :]
            # Each tile is summed first; adding hundreds of terms one by one loses the last digits.
            entropy -= tl.sum(tl.sum(joint * _log2(joint), 1), 0)

    entropy = _of_shares(entropy, PATCH * ROWS)
    score = tl.maximum(hx + hy - entropy, 0.0)
    if NORMALIZED:
        score = tl.minimum(2 * score / (hx + hy), 1.0)
    of_item = planes * rows * columns
    slot = pixel // of_item * slots + offset % slots
    index = slot.to(tl.int64) * pixels_of_slot + pixel % of_item
    tl.atomic_max(result + index, score, varied & (lane < pixels), sem="relaxed")


class TritonEngine:
    """The operator on a GPU for one source, in single precision and without gradient.

    For every pixel of the source, the engine keeps the scaled value, the mass of its kernel and
    the entropy of its patch. It does not use matrix units, hence no TF32.

    For V voxels, O offsets, patches of K voxels, and T tiles of 8 × 8 bins with weight (at most
    ⌈bins/8⌉²), the operations are V·O·T·K·64 multiply-adds, V·O·T·K·16 weights (two additions and
    a power of 2 each) and V·O·T·64 logarithms. For 128³, K = O = 27 and noise in 27 bins, T is 16.
    This gives 1.6e12 multiply-adds, 3.9e11 weights and 5.8e10 logarithms. Compiled for an H100, a
    tile takes 4360 instructions of a warp, 1.2e11 in total, with 127 registers per thread and no
    spilling. With 132 processors × 4 instructions × 1.7 GHz these take 0.14 s. The powers, 16 per
    cycle in parallel, take 0.11 s. The estimated time is therefore 0.15 to 0.3 s. Nothing has been
    measured on a GPU yet; tests run the kernels in Triton's interpreter.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        Floating point on a CUDA device without NaN; values are clamped to [0, 1].
    settings : LMISettings
        The kernel is not narrow.
    memory : int
        Bytes that a call may use in addition to inputs, output and the prepared source. At least
        one row of an image, or one plane of a volume, is scored at a time with its neighbourhood.
    """

    def __init__(self, source: Tensor, settings: LMISettings, memory: int) -> None:
        self.settings = settings
        self.memory = memory
        self.deep = source.ndim == 4
        self.halo = settings.patch_size // 2 + settings.search_size // 2
        self.rows = settings.patch_size ** (source.ndim - 2)
        # Distances are scaled so that the kernel is 2^(−distance²).
        one_deviation = math.sqrt(0.5 * math.log2(math.e))
        self.step = one_deviation / (settings.bandwidth * (settings.bins - 1))
        self.reach = REACH * one_deviation
        self.shape = tuple(source.shape)
        everything = slice(0, self.shape[0]), 0, self.shape[1]
        self.source = self._prepared(self._part(source, *everything, settings.patch_size // 2))

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores of the best offset, (B, 1, *spatial), or of all, (B, offsets, *spatial)."""
        settings = self.settings
        offsets = settings.offsets(other.ndim - 1)
        slots = offsets if every_offset else 1
        batch, *spatial = self.shape
        result = torch.zeros(batch, slots, *spatial, device=other.device)
        with torch.cuda.device_of(other):
            for items, first, last in self._parts():
                values, norms, entropy = self.source
                border = settings.patch_size - 1
                x = (
                    values[items, first : last + border].contiguous(),
                    norms[items, first : last + border].contiguous(),
                    entropy[items, first:last].contiguous(),
                )
                y = self._prepared(self._part(other, items, first, last, self.halo))
                pixels, *sizes = self._sizes(x[2])
                _score_kernel[triton.cdiv(pixels, LANES), offsets](
                    *x, *y, result[items, :, first:last],
                    pixels, *sizes, slots, math.prod(spatial), settings.bins, self.step, self.reach,
                    self.deep, settings.patch_size, settings.search_size, self.rows,
                    settings.normalized, TILE, LANES, num_warps=1, enable_fp_fusion=True,
                )  # fmt: skip
        return result

    def _parts(self) -> Iterator[tuple[slice, int, int]]:
        """Parts that fit the memory: images, and their first and last row or plane."""
        batch, length, *others = self.shape
        slab = 4 * NUMBERS * math.prod(size + 2 * self.halo for size in others)
        # Pixels of a part are numbered in 32 bits.
        slabs = min(self.memory, 2**31 - 1) // slab
        images = max(slabs // (length + 2 * self.halo), 1)
        longest = max(slabs - 2 * self.halo, 1)
        for item in range(0, batch, images):
            for first in range(0, length, longest):
                yield slice(item, item + images), first, min(first + longest, length)

    def _part(self, images: Tensor, items: slice, first: int, last: int, halo: int) -> Tensor:
        """A part of the images with ``halo`` more pixels on every side; the edges are repeated."""
        index = torch.arange(first - halo, last + halo, device=images.device)
        part = images[items].detach().index_select(1, index.clamp(0, images.shape[1] - 1))
        widths = [halo] * 2 * (images.ndim - 2)
        return functional.pad(part.float().clamp(0, 1), widths, mode="replicate")

    def _sizes(self, images: Tensor) -> tuple[int, int, int, int]:
        """Number of pixels, planes, rows and columns."""
        planes = images.shape[1] if self.deep else 1
        return images.numel(), planes, images.shape[-2], images.shape[-1]

    def _prepared(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled values, −log2 of the kernels' mass, and the entropies of all patches."""
        bins, patch = self.settings.bins, self.settings.patch_size
        values = images * ((bins - 1) * self.step)
        mass = torch.zeros_like(values)
        for bin_ in range(bins):
            mass += (values - bin_ * self.step).square_().neg_().exp2_()
        norms = mass.log2_().neg_()
        inner = [size - patch + 1 for size in images.shape[1:]]
        entropy = values.new_empty(len(images), *inner)
        pixels, *sizes = self._sizes(entropy)
        with torch.cuda.device_of(images):
            _marginal_kernel[(triton.cdiv(pixels, LANES),)](
                values, norms, entropy, pixels, *sizes, bins, self.step, self.reach,
                self.deep, patch, self.rows, TILE, LANES, num_warps=1, enable_fp_fusion=True,
            )  # fmt: skip
        return values, norms, entropy
