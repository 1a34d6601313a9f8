"""A source prepared for scoring: checks of what comes in, choice of engine, shape of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from chiasm.errors import UsageError, explain
from chiasm.lmi.definition import Definition, patch_scores
from chiasm.lmi.settings import LMISettings

_LEGAL_TYPE = "a numpy array or torch tensor of floating point numbers"
_LEGAL_SHAPE = "(H, W), (D, H, W), (B, 1, H, W) or (B, 1, D, H, W)"


def _tensor(argument: str, array: Any) -> Tensor:
    """The array as a detached float32 tensor on its own device; refused if not so representable."""
    if isinstance(array, np.ndarray):
        if not np.issubdtype(array.dtype, np.floating):
            raise UsageError(explain(argument, array.dtype, "is not floating point", _LEGAL_TYPE))
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    elif isinstance(array, Tensor):
        if not array.is_floating_point():
            raise UsageError(explain(argument, array.dtype, "is not floating point", _LEGAL_TYPE))
        tensor = array.detach().float()
    else:
        raise UsageError(explain(argument, type(array).__name__, "is not an array", _LEGAL_TYPE))
    if tensor.numel() == 0:
        raise UsageError(explain(argument, tuple(tensor.shape), "is empty", "at least one pixel"))
    if tensor.isnan().any():
        raise UsageError(explain(argument, "array", "holds NaN", "numbers"))
    return tensor


def _like(result: Tensor, array: Any) -> Any:
    return result.numpy() if isinstance(array, np.ndarray) else result


def _engine(images: Tensor, settings: LMISettings) -> Any:
    if settings.narrow:
        # Only the definition, in float64 on the CPU, is exact enough.
        return Definition(images.cpu(), settings)
    if images.device.type != "cpu":
        return Definition(images, settings)
    if settings.variant == "published":
        from chiasm.lmi.published import Published

        return Published(images, settings)
    from chiasm.lmi.cpu import Corrected

    return Corrected(images, settings)


class PreparedSource:
    """One source, ready to be scored against any number of other images.

    Made by `chiasm.lmi.prepare`, which says what the arguments are.

    Attributes
    ----------
    settings : LMISettings
    offsets : int
        Number of patch offsets scored at every pixel.
    """

    def __init__(self, source: Any, settings: LMISettings) -> None:
        images = _tensor("source", source)
        shape = tuple(images.shape)
        self.batched = len(shape) in (4, 5)
        if len(shape) not in (2, 3, 4, 5) or (self.batched and shape[1] != 1):
            raise UsageError(explain("source", shape, "is no shape of images", _LEGAL_SHAPE))
        self._spatial = shape[2:] if self.batched else shape
        if settings.variant == "published" and len(self._spatial) != 2:
            what = "is not two-dimensional, as the published variant is"
            raise UsageError(explain("source", shape, what, "(H, W) or (B, 1, H, W)"))
        self.settings = settings
        self.offsets = settings.offsets(len(self._spatial))
        self._kind = "numpy array" if isinstance(source, np.ndarray) else f"{images.device} tensor"
        self._shape = shape
        self._engine = _engine(images.reshape(-1, *self._spatial), settings)

    def __call__(self, other: Any, *, reduce: str = "max") -> Any:
        """Score the source against another image.

        Parameters
        ----------
        other : array or Tensor
            Of the kind, device and shape of the source. Values outside [0, 1] are legal.
        reduce : {"max", "none"}
            Keep the best offset's score, or those of all offsets.

        Returns
        -------
        array or Tensor, float32
            ``"max"``: the source's shape. ``"none"``: (B, offsets, *spatial), without B if the
            source has none; offsets run from the most negative, last axis fastest.

        Raises
        ------
        UsageError
            ``other`` is not floating point, holds NaN, or differs from the source in shape, kind
            or device; ``reduce`` is not known.
        """
        if reduce not in ("max", "none"):
            raise UsageError(explain("reduce", reduce, "is not known", "max, none"))
        images = _tensor("other", other)
        kind = "numpy array" if isinstance(other, np.ndarray) else f"{images.device} tensor"
        if kind != self._kind:
            raise UsageError(explain("other", kind, "is not what the source is", self._kind))
        if tuple(images.shape) != self._shape:
            what, legal = "is not the shape of the source", str(self._shape)
            raise UsageError(explain("other", tuple(images.shape), what, legal))
        batch = images.reshape(-1, *self._spatial)
        if self.settings.narrow:
            batch = batch.cpu()
        scores = self._engine(batch, reduce == "none").to(images.device)
        if reduce == "max":
            scores = scores.reshape(self._shape)
        elif not self.batched:
            scores = scores[0]
        return _like(scores, other)


def pairwise(x: Any, y: Any, settings: LMISettings) -> Any:
    """Implementation of `chiasm.lmi.patch_mutual_information`."""
    first, second = _tensor("x", x), _tensor("y", y)
    if first.shape != second.shape or first.ndim < 2:
        legal = "the same (N, *patch) for x and y"
        shapes = f"{tuple(first.shape)}, {tuple(second.shape)}"
        raise UsageError(explain("x, y", shapes, "are no pairs of patches", legal))
    if first.device != second.device or isinstance(x, np.ndarray) != isinstance(y, np.ndarray):
        raise UsageError(explain("y", type(y).__name__, "is not what x is", type(x).__name__))
    exact = [patches.flatten(1).cpu().double() for patches in (first, second)]
    return _like(patch_scores(exact[0], exact[1], settings).float().to(first.device), x)
