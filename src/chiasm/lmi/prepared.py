"""A source prepared for scoring: checks of arguments, choice of engine, shape of the result."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.lmi.definition import Definition, patch_scores
from chiasm.lmi.distribution import by_own_distribution, not_background
from chiasm.lmi.settings import LMISettings, check_whole

# Enough for the smallest tile of the largest patch and search in a volume, with 64 bins.
LEAST_MEMORY = 2**24
# Largest patch of the numba engine, whose runs of lanes contain few complete larger patches.
NUMBA_PATCH = 15

_LEGAL_TYPE = "a numpy array or torch tensor of floating point numbers"
_LEGAL_SHAPE = "(H, W), (D, H, W), (B, 1, H, W) or (B, 1, D, H, W)"


def _tensor(argument: str, array: Any) -> Tensor:
    """The array as a tensor on its own device, in float64 if it already is, else in float32."""
    if isinstance(array, np.ndarray):
        if not np.issubdtype(array.dtype, np.floating):
            raise UsageError(explain(argument, array.dtype, "is not floating point", _LEGAL_TYPE))
        dtype = np.float64 if array.dtype == np.float64 else np.float32
        tensor = torch.from_numpy(np.require(array, dtype, ["C", "W"]))
    elif isinstance(array, Tensor):
        if not array.is_floating_point():
            raise UsageError(explain(argument, array.dtype, "is not floating point", _LEGAL_TYPE))
        tensor = array if array.dtype == torch.float64 else array.float()
    else:
        raise UsageError(explain(argument, type(array).__name__, "is not an array", _LEGAL_TYPE))
    if tensor.numel() == 0:
        raise UsageError(explain(argument, tuple(tensor.shape), "is empty", "at least one pixel"))
    if tensor.detach().amin().isnan():
        raise UsageError(explain(argument, "array", "holds NaN", "numbers"))
    return tensor


def _boolean(mask: Any, shape: tuple[int, ...]) -> Tensor:
    legal = f"booleans of the shape of the source, {shape}"
    if not isinstance(mask, np.ndarray | Tensor):
        raise UsageError(explain("mask", type(mask).__name__, "is not an array", legal))
    if mask.dtype not in (np.bool_, torch.bool):
        raise UsageError(explain("mask", mask.dtype, "is not boolean", legal))
    if tuple(mask.shape) != shape:
        raise UsageError(explain("mask", tuple(mask.shape), "differs from the source", legal))
    return torch.as_tensor(np.array(mask) if isinstance(mask, np.ndarray) else mask)


def _like(result: Tensor, array: Any) -> Any:
    return result.numpy() if isinstance(array, np.ndarray) else result


def _engine(images: Tensor, settings: LMISettings, memory: int, mask: Tensor | None) -> Any:
    if settings.narrow:
        # Only the definition in float64 on the CPU is accurate enough.
        return Definition(images.cpu(), settings)
    small = settings.patch_size <= NUMBA_PATCH
    if images.device.type == "cpu" and small and find_spec("numba"):
        from chiasm.lmi.cpu import NumbaEngine

        return NumbaEngine(images, settings, memory, mask)
    if images.device.type == "cuda" and find_spec("triton"):
        from chiasm.lmi.triton_engine import TritonEngine

        return TritonEngine(images, settings, memory)
    from chiasm.lmi.torch_engine import TorchEngine

    return TorchEngine(images, settings, memory)


def _smallest_best(scores: Tensor, displacements: Tensor) -> Tensor:
    """Displacement (B, axes, *spatial) of the best of the scores (B, offsets, *spatial).

    If several are best, it is the shortest, and among equally short ones the first.
    """
    order = displacements.square().sum(1).argsort(stable=True).tolist()
    best = scores[:, order[0]].clone()
    found = torch.full_like(best, order[0], dtype=torch.int64)
    for number in order[1:]:
        better = scores[:, number] > best
        best[better] = scores[:, number][better]
        found[better] = number
    return displacements.to(found.device)[found].movedim(-1, 1)


class PreparedSource:
    """A source that can be scored against any number of other images.

    `chiasm.lmi.prepare` makes it and describes the arguments.

    Attributes
    ----------
    settings : LMISettings
    offsets : int
        Number of offsets that are scored at every pixel.
    displacements : Tensor of int64, shape (offsets, axes)
        From a pixel to the centre of the other image's patch, in the order of ``reduce="none"``.
    """

    def __init__(
        self, source: Any, settings: LMISettings, mask: Any = None, memory: int = LEAST_MEMORY
    ) -> None:
        check_whole("memory", memory, least=LEAST_MEMORY)
        images = _tensor("source", source).detach().clone()
        shape = tuple(images.shape)
        self.batched = len(shape) in (4, 5)
        if len(shape) not in (2, 3, 4, 5) or (self.batched and shape[1] != 1):
            raise UsageError(explain("source", shape, "is not a shape of images", _LEGAL_SHAPE))
        self._spatial = shape[2:] if self.batched else shape
        axes = len(self._spatial)
        self.settings = settings
        search = range(-(settings.search_size // 2), settings.search_size // 2 + 1)
        self.displacements = torch.tensor(list(itertools.product(search, repeat=axes)))
        self.offsets = len(self.displacements)
        self._kind = "numpy array" if isinstance(source, np.ndarray) else f"{images.device} tensor"
        self._shape = shape
        # The score of a pixel depends only on pixels within this distance along each axis.
        self._halo = settings.patch_size // 2 + settings.search_size // 2
        # The other half is for the scores of all offsets when only the best offset is returned.
        self._memory = memory // 2
        self._mask: Tensor | None = None
        self._box: tuple[slice, ...] = (slice(None),) * (1 + axes)
        images = images.reshape(-1, *self._spatial)
        if mask is not None:
            complete = _boolean(mask, shape).to(images.device).reshape(images.shape)
            self._box = self._around(complete)
            self._mask = complete[self._box].clone()
        images = images[self._box].clone()
        self._foreground: Tensor | None = None
        if settings.binning == "quantile":
            self._foreground = not_background(images) if self._mask is None else self._mask
        self._source = self._on_scale(images)
        self._engine = self._make(self._source, self._mask)
        self._differentiable: dict[torch.dtype, Any] = {}

    def _make(self, images: Tensor, mask: Tensor | None) -> Any:
        return _engine(images.float(), self.settings, self._memory, mask)

    def _on_scale(self, images: Tensor) -> Tensor:
        """Images within the box on the scale of the bins: the same, or ranks in the foreground."""
        if self._foreground is None:
            return images
        return by_own_distribution(images, self._foreground)

    def _around(self, mask: Tensor) -> tuple[slice, ...]:
        """The box of all pixels inside the mask and all pixels on which their scores depend."""
        box = [slice(None)]
        for axis in range(1, mask.ndim):
            others = [k for k in range(mask.ndim) if k != axis]
            filled = mask.amax(others).nonzero().flatten().tolist() or [0]
            box.append(slice(max(filled[0] - self._halo, 0), filled[-1] + self._halo + 1))
        return tuple(box)

    def __call__(self, other: Any, *, reduce: str = "max") -> Any:
        """Score the source against another image.

        Parameters
        ----------
        other : array or Tensor
            Another image of the same type, device and shape as the source. Values outside [0, 1]
            are clamped, or, with quantile bins, the values are mapped by their distribution in the
            foreground of the source.
        reduce : {"max", "none", "offset"}
            As in `chiasm.local_mutual_information`.

        Returns
        -------
        array or Tensor
            As in `chiasm.local_mutual_information`. If several offsets are best, ``"offset"`` is
            the shortest, and among equally short ones the first.

        Raises
        ------
        UsageError
            ``other`` is not floating point, holds NaN, or differs from the source in shape, type
            or device; or ``reduce`` is not known.
        """
        if reduce not in ("max", "none", "offset"):
            raise UsageError(explain("reduce", reduce, "is not known", "max, none, offset"))
        images = _tensor("other", other)
        kind = "numpy array" if isinstance(other, np.ndarray) else f"{images.device} tensor"
        if kind != self._kind:
            raise UsageError(explain("other", kind, "differs from the source", self._kind))
        if tuple(images.shape) != self._shape:
            what, legal_shape = "differs from the shape of the source", str(self._shape)
            raise UsageError(explain("other", tuple(images.shape), what, legal_shape))
        batch = self._on_scale(images.reshape(-1, *self._spatial)[self._box])
        if reduce == "offset":
            result = self._best_displacements(batch.detach().float())
        else:
            result = self._scores(batch, reduce == "none")
        if self._mask is not None:
            result = self._unmasked(result, self._mask)
        result = result.to(images.device)
        if reduce == "max":
            result = result.reshape(self._shape)
        elif not self.batched:
            result = result[0]
        return _like(result, other)

    def _scores(self, other: Tensor, every_offset: bool) -> Tensor:
        """Scores (B, 1 or offsets, *spatial) within the box."""
        if other.requires_grad and torch.is_grad_enabled():
            return self._with_gradient(other, every_offset)
        other = other.detach().float()
        return self._engine(other.cpu() if self.settings.narrow else other, every_offset)

    def _with_gradient(self, other: Tensor, every_offset: bool) -> Tensor:
        dtype = torch.float64 if self.settings.narrow else other.dtype
        device = torch.device("cpu") if self.settings.narrow else other.device
        if dtype not in self._differentiable:
            self._differentiable[dtype] = self._differentiable_engine(device, dtype)
        scores = self._differentiable[dtype](other.to(device, dtype), every_offset)
        return scores.to(other.device, other.dtype)

    def _differentiable_engine(self, device: torch.device, dtype: torch.dtype) -> Any:
        from chiasm.lmi.torch_engine import TorchEngine

        source, settings = self._source.to(device, dtype), self.settings
        without_search = dtype == torch.float32 and settings.search_size == 1
        if without_search and find_spec("numba"):
            from chiasm.lmi.cpu import NumbaEngine
            from chiasm.lmi.cpu_gradient import NumbaGradient

            if isinstance(self._engine, NumbaEngine):
                return NumbaGradient(source, settings, self._memory, self._engine)
        return TorchEngine(source, settings, self._memory)

    def _best_displacements(self, other: Tensor) -> Tensor:
        """Displacements (B, axes, *spatial) within the box, computed in slabs to limit memory."""
        depth = other.shape[1]
        at_once = self._memory // (4 * self.offsets * other[:, 0].numel())
        if at_once >= depth:
            return _smallest_best(self._scores(other, True), self.displacements)
        step, found = max(at_once - 2 * self._halo, 1), []
        for start in range(0, depth, step):
            first = max(start - self._halo, 0)
            near = (slice(None), slice(first, start + step + self._halo))
            mask = None if self._mask is None else self._mask[near]
            engine = self._make(self._source[near], mask)
            slab = other[near].cpu() if self.settings.narrow else other[near]
            scores = engine(slab, True).narrow(2, start - first, min(step, depth - start))
            found.append(_smallest_best(scores, self.displacements))
        return torch.cat(found, dim=2)

    def _unmasked(self, result: Tensor, mask: Tensor) -> Tensor:
        """The result of the box on the complete image, 0 outside the mask."""
        inside = torch.where(mask[:, None].to(result.device), result, 0)
        widths: list[int] = []
        for piece, size in zip(self._box[1:], self._spatial, strict=True):
            widths = [piece.start, max(size - piece.stop, 0), *widths]
        return functional.pad(inside, widths)


def pairwise(x: Any, y: Any, settings: LMISettings) -> Any:
    """The implementation of `chiasm.lmi.patch_mutual_information`."""
    first, second = _tensor("x", x), _tensor("y", y)
    if first.shape != second.shape or first.ndim < 2:
        legal = "the same (N, *patch) for x and y"
        shapes = f"{tuple(first.shape)}, {tuple(second.shape)}"
        raise UsageError(explain("x, y", shapes, "are not shapes of pairs of patches", legal))
    if first.device != second.device or isinstance(x, np.ndarray) != isinstance(y, np.ndarray):
        raise UsageError(explain("y", type(y).__name__, "differs from x", type(x).__name__))
    exact = [patches.detach().flatten(1).cpu().double() for patches in (first, second)]
    return _like(patch_scores(exact[0], exact[1], settings).float().to(first.device), x)
