"""The operator in plain torch: any device, single or double precision, with a gradient.

A pair of patches has Parzen weights w_x, w_y of shape (K, bins). With logarithms to base 2,

    p(a, b) = Σ_k w_x[k, a] w_y[k, b] / K        MI = H(x) + H(y) − H(p)
    ∂H(y)/∂w_y[k, b] = −log p_y(b) / K
    ∂MI/∂w_y[k, b] = (Σ_a w_x[k, a] log p(a, b) − log p_y(b)) / K

up to terms that are the same for all b. These terms vanish in the derivative by the value of the
pixel, because its weights always sum to 1. Both passes process the image in groups of pixels. The
backward pass recomputes the histograms, so that they need not be stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, threshold

from chiasm.lmi.definition import parzen_weights
from chiasm.lmi.settings import LMISettings

# Pixels per group on a CPU, where histograms that fit the cache are several times faster.
PIXELS_IN_CACHE = 512
# Number of arrays with an entry per pair of bins, and per weight of a patch, that exist at once.
HISTOGRAMS, PATCHES = 3, 8


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Compute matrix products in the precision of their operands, without autocast or TF32."""
    with ExitStack() as stack:
        try:
            before = torch.get_float32_matmul_precision()
            if before != "highest":
                stack.callback(torch.set_float32_matmul_precision, before)
                torch.set_float32_matmul_precision("highest")
        except RuntimeError:
            # The precision was set for each backend, the newer way of torch, which excludes the
            # older one.
            backends: Any = torch.backends
            for backend in (backends.cuda.matmul, backends.mkldnn.matmul):
                stack.callback(setattr, backend, "fp32_precision", backend.fp32_precision)
                backend.fp32_precision = "ieee"
        stack.enter_context(torch.autocast(device.type, enabled=False))
        yield


def _weights(values: Tensor, settings: LMISettings) -> Tensor:
    """Parzen weights (N, bins); weights whose products would be subnormal, hence slow, are 0."""
    least = math.sqrt(torch.finfo(values.dtype).tiny)
    return threshold(parzen_weights(values, settings), least, 0.0)


def _log(p: Tensor) -> Tensor:
    return p.clamp_min(torch.finfo(p.dtype).tiny).log2_()


def _entropy(p: Tensor) -> Tensor:
    """Entropies of distributions (N, ...), in bits."""
    return _log(p).mul_(p).flatten(1).sum(1).neg_()


def _varied(patches: Tensor) -> Tensor:
    """Which of the patches (N, K) are not constant."""
    return (patches != patches[:, :1]).any(1)


def _steps(size: int, dimensions: int, device: torch.device) -> Tensor:
    """Steps from a window's centre to its pixels, (size ** dimensions, dimensions)."""
    axis = torch.arange(size, device=device) - size // 2
    return torch.cartesian_prod(*[axis] * dimensions)


class TorchEngine:
    """The operator for one source.

    The engine keeps the clamped source and the pixels whose patch is not constant. The score of
    all other pixels is 0 for any other image.

    Parameters
    ----------
    source : Tensor, shape (B, H, W) or (B, D, H, W)
        Floating point without NaN; values are clamped to [0, 1].
    settings : LMISettings
    memory : int
        Bytes that a call and its backward pass may use in addition to their inputs and outputs,
        and to two bytes per pixel for the index of the best offset. At least one pixel is scored
        at a time.
    """

    def __init__(self, source: Tensor, settings: LMISettings, memory: int) -> None:
        self.settings = settings
        self.memory = memory
        self.shape = tuple(source.shape)
        self.source = source.detach().clamp(0, 1)
        dimensions = source.ndim - 1
        patch, search = settings.patch_size, settings.search_size
        self.patch = _steps(patch, dimensions, source.device)
        self.window = _steps(patch + search - 1, dimensions, source.device)
        self.offsets = _steps(search, dimensions, source.device)
        everywhere = torch.arange(source.numel(), device=source.device)
        values = self.source.flatten()
        varied = [
            pixels[_varied(values[self._around(pixels, self.patch)])]
            for pixels in everywhere.split(self._pixels_at_once(source.dtype))
        ]
        self.pixels = torch.cat(varied)

    def __call__(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores of the best offset, (B, 1, *spatial), or of all, (B, offsets, *spatial).

        The scores have the dtype of ``other`` and are differentiable in it. The gradient of the
        best score is the gradient at the best offset, and at the shortest one if several are best.
        The gradient is 0 for clamped values and for constant patches. TF32 is never used.
        """
        return _Scores.apply(other, self, every_offset)

    def _pixels_at_once(self, dtype: torch.dtype) -> int:
        bins = self.settings.bins
        numbers = HISTOGRAMS * bins**2 + PATCHES * len(self.patch) * bins
        # The pixels of a window are numbered, sorted and looked up in 8-byte integers.
        bytes_of_one = numbers * dtype.itemsize + 8 * 8 * len(self.window)
        pixels = max(self.memory // bytes_of_one, 1)
        return min(pixels, PIXELS_IN_CACHE) if self.source.device.type == "cpu" else pixels

    def _groups(self, other: Tensor) -> tuple[Tensor, ...]:
        return self.pixels.split(self._pixels_at_once(other.dtype)) if len(self.pixels) else ()

    def _around(self, pixels: Tensor, steps: Tensor) -> Tensor:
        """Flat indices (N, K) of the pixels at steps (K, axes) or (N, K, axes); edges repeat."""
        index, *position = (axis[:, None] for axis in torch.unravel_index(pixels, self.shape))
        for axis, (size, start) in enumerate(zip(self.shape[1:], position, strict=True)):
            index = index * size + (start + steps[..., axis]).clamp_(0, size - 1)
        return index

    def _source_weights(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Weights (N, K, bins) of the patches of the source, divided by K."""
        unique, rows = self._around(pixels, self.patch).unique(return_inverse=True)
        values = self.source.flatten()[unique].to(dtype)
        return embedding(rows, _weights(values, self.settings) / len(self.patch))

    def _in_window(self, offset: Tensor) -> Tensor:
        """Flat indices of the pixels of a displaced patch in the window."""
        reach = self.settings.patch_size // 2 + self.settings.search_size // 2
        positions = self.patch + offset + reach
        index = positions[:, 0]
        for axis in range(1, positions.shape[1]):
            index = index * (2 * reach + 1) + positions[:, axis]
        return index

    def scores(self, other: Tensor, pixels: Tensor) -> Tensor:
        """Scores (N, offsets) of a group of pixels (N,)."""
        wx = self._source_weights(pixels, other.dtype)
        hx = _entropy(wx.sum(1))
        unique, rows = self._around(pixels, self.window).unique(return_inverse=True)
        values = other.flatten()[unique].clamp(0, 1)
        table = _weights(values, self.settings)
        result = other.new_empty(len(pixels), len(self.offsets))
        for number, offset in enumerate(self.offsets):
            patches = rows[:, self._in_window(offset)]
            wy = embedding(patches, table)
            hy = _entropy(wy.mean(1))
            score = (hx + hy - _entropy(wx.mT @ wy)).clamp_(min=0)
            if self.settings.normalized:
                score = torch.where(hx + hy > 0, 2 * score / (hx + hy), 0).clamp_(max=1)
            result[:, number] = torch.where(_varied(values[patches]), score, 0)
        return result

    def gradient(self, other: Tensor, pixels: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Derivative of the scores of a group at ``offset``, shape (axes,) or (N, 1, axes).

        Returns the flat indices (N, K) of the other image's pixels in each patch, and the
        derivative of the score by the values of these pixels.
        """
        at = self._around(pixels, self.patch + offset)
        unique, rows = at.unique(return_inverse=True)
        values = other.flatten()[unique]
        table = _weights(values, self.settings)
        wx, wy = self._source_weights(pixels, other.dtype), embedding(rows, table)
        joint, py = wx.mT @ wy, wy.mean(1)
        by_mutual = wx @ _log(joint)
        by_hy = _log(py)[:, None] / -wy.shape[1]
        by_mutual += by_hy
        if self.settings.normalized:
            hx, hy = _entropy(wx.sum(1)), _entropy(py)
            total = hx + hy
            score = 2 * (total - _entropy(joint)) / total
            by_weight = by_mutual.mul_(2).sub_(by_hy * score[:, None, None])
            by_weight /= total[:, None, None]
        else:
            by_weight = by_mutual
        # w = softmax(−½ ((v − c) / h)²), hence ∂w_b/∂v = w_b (c_b − Σ w c) / h².
        centres = torch.linspace(0, 1, self.settings.bins, dtype=other.dtype, device=other.device)
        slope = table * (centres - (table @ centres)[:, None]) / self.settings.bandwidth**2
        slope *= ((values >= 0) & (values <= 1))[:, None]
        by_value = by_weight.mul_(embedding(rows, slope)).sum(2)
        inside = values.clamp(0, 1)[rows]
        return at, torch.where(_varied(inside)[:, None], by_value, 0)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, other: Tensor, engine: TorchEngine, every_offset: bool) -> Tensor:
        batch, *spatial = other.shape
        slots = len(engine.offsets) if every_offset else 1
        result = other.new_zeros(batch, slots, math.prod(spatial))
        # `max` may return any of several equal scores. In this order, the first is the shortest.
        order = engine.offsets.square().sum(1).argsort(stable=True)
        best = torch.zeros(other.numel(), dtype=torch.int16, device=other.device)
        with _full_precision(other.device):
            for pixels in engine._groups(other):
                scores = engine.scores(other, pixels)
                if not every_offset:
                    ranked = scores[:, order]
                    highest = ranked.amax(1, keepdim=True)
                    first = (ranked == highest).int().argmax(1)
                    best[pixels] = order[first].to(best.dtype)
                    scores = highest
                at = pixels // result.shape[2], slice(None), pixels % result.shape[2]
                result[at] = scores
        ctx.engine, ctx.every_offset = engine, every_offset
        ctx.save_for_backward(other, best)
        return result.view(batch, slots, *spatial)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_score: Tensor) -> tuple[Tensor, None, None]:
        other, best = ctx.saved_tensors
        engine = ctx.engine
        by_score = by_score.flatten(2)
        result = torch.zeros_like(other).flatten()
        with _full_precision(other.device):
            for pixels in engine._groups(other):
                rows = pixels // by_score.shape[2], slice(None), pixels % by_score.shape[2]
                if ctx.every_offset:
                    offsets = iter(engine.offsets)
                else:
                    offsets = iter([engine.offsets[best[pixels].long()][:, None]])
                for offset, weight in zip(offsets, by_score[rows].T, strict=True):
                    at, by_value = engine.gradient(other, pixels, offset)
                    result.index_add_(0, at.flatten(), (by_value * weight[:, None]).flatten())
        return result.view_as(other), None, None
