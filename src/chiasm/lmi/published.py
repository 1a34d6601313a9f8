"""The published operator on the CPU, in numba: vectorised along pixels, threads over runs of them.

Reproduces the layer of Wang et al. (arXiv 2404.01102), defects included, for honest comparison.
With J = Σ w_x w_y unnormalised and S its sum, the layer's p = J/(S + ε) has

    −Σ p log2(p + ε) = (log2(S + ε) · S − Σ J log2(J + ε (S + ε))) / (S + ε),

so that one pass over the bins suffices, S being known from the masses of the pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from chiasm.lmi.cpu import in_threads, log2
from chiasm.lmi.definition import EPSILON, LEVELS, grey_levels, mosaic, padded
from chiasm.lmi.settings import PUBLISHED_SIZE, LMISettings

# Pixels that are computed together.
RUN = 256
# Standard deviations of the kernel beyond which weights (below 1e-18) are dropped: far less than ε,
# and no product of two is denormal, which would be slow.
REACH = 9.1


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


class Published:
    """The published operator, prepared for one source.

    Parameters
    ----------
    source : Tensor, shape (B, H, W)
        float32 on the CPU, no NaN.
    settings : LMISettings
    """

    def __init__(self, source: Tensor, settings: LMISettings) -> None:
        self.settings = settings
        self.shape = tuple(source.shape)
        self.source = self._cells(padded(grey_levels(source), PUBLISHED_SIZE // 2, "constant"))
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
        offsets = self.settings.offsets(len(self.shape) - 1) if every_offset else 1
        result = np.full((self.shape[0], offsets, *self.shape[1:]), -np.inf, np.float32)
        pixels = np.arange(math.prod(self.shape))
        in_threads(
            _score_pixels, pixels, self.source, self._cells(mosaic(grey_levels(other))),
            self.table, self.lowest, (0,) * PUBLISHED_SIZE, self.settings.normalized, result,
        )  # fmt: skip
        return torch.from_numpy(result)
