"""Image operations of NumPy libraries that are applied to every slice of a source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def by_slice(source: Tensor, operation: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Apply a function of a 2D image to every slice of every image.

    Parameters
    ----------
    source : Tensor, shape (B, images, X, Y) or (B, images, X, Y, Z)
        The slices of a volume lie along its last axis, see `chiasm.image.context`.
    operation : callable
        Takes a float32 array (X, Y) and returns an array of that shape.

    Returns
    -------
    Tensor
        With the shape, type and device of the source.
    """
    array = source.detach().float().cpu().numpy()
    slices = np.moveaxis(array, -1, 2) if source.ndim == 5 else array
    planes = slices.reshape(-1, *slices.shape[-2:])
    done = np.stack([operation(plane) for plane in planes]).reshape(slices.shape)
    if source.ndim == 5:
        done = np.moveaxis(done, 2, -1)
    return torch.from_numpy(np.ascontiguousarray(done)).to(source)
