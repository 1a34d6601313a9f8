"""Random and smooth fields on lattices, and their interpolation."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional


def stream(seed: int, name: str) -> np.random.Generator:
    """A random generator that depends only on the seed and its own name."""
    key = zlib.crc32(name.encode())
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float, band: bool = False
) -> np.ndarray:
    """Gaussian random field of zero mean and unit variance.

    Parameters
    ----------
    rng : Generator
    shape : tuple of int
        Shape of the lattice.
    sigma : float
        Standard deviation of the smoothing kernel, in lattice steps.
    band : bool
        Whether the field smoothed with a 1.6 times wider kernel is subtracted, which leaves a
        single scale (a wavelength of about 2π·sigma).

    Returns
    -------
    float32 array of this shape
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(white, sigma, mode="wrap")
    if band:
        field -= ndimage.gaussian_filter(white, 1.6 * sigma, mode="wrap")
    field -= field.mean()
    return field / field.std()


def normalised(offset: np.ndarray, extent: np.ndarray) -> torch.Tensor:
    """Convert points to the coordinates that `sample` takes.

    Parameters
    ----------
    offset : array, shape (3, …)
        Position relative to the first point of a lattice, in mm.
    extent : array, shape (3,)
        Distance from its first to its last point, in mm.

    Returns
    -------
    tensor, shape (…, 3)
        −1 at the first point and 1 at the last. The last axis of the lattice comes first.
    """
    unit = 2 * offset / extent.reshape(3, *[1] * (offset.ndim - 1)) - 1
    return torch.from_numpy(np.moveaxis(unit[::-1], 0, -1).astype(np.float32).copy())


def sample(maps: np.ndarray | torch.Tensor, where: torch.Tensor) -> np.ndarray:
    """Interpolate maps linearly; beyond the lattice, the values at its border are repeated.

    Parameters
    ----------
    maps : float32, shape (C, I, J, K)
    where : tensor, shape (X, Y, Z, 3)
        Coordinates from `normalised`.

    Returns
    -------
    array, shape (C, X, Y, Z)
    """
    maps = torch.as_tensor(maps)[None]
    return functional.grid_sample(maps, where[None], padding_mode="border", align_corners=True)[
        0
    ].numpy()


def stretch(values: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """Interpolate linearly to another lattice with the same axes.

    Each point is computed separately, so that it does not depend on which others are requested.

    Parameters
    ----------
    values : float32 array, shape (I, J, K, …)
    positions : three arrays, shapes (X,), (Y,), (Z,)
        Positions along each axis, in steps of the lattice of ``values``.

    Returns
    -------
    float32 array, shape (X, Y, Z, …)
    """
    for axis in (2, 1, 0):
        left = np.clip(positions[axis].astype(int), 0, values.shape[axis] - 2)
        weight = (positions[axis] - left).astype(np.float32)
        weight = weight.reshape(-1, *[1] * (values.ndim - axis - 1))
        low, high = values.take(left, axis), values.take(left + 1, axis)
        values = low + weight * (high - low)
    return values


def average(fine: np.ndarray, factor: int) -> np.ndarray:
    """Means over cubes of ``factor`` points along the last three axes: (C, X, Y, Z)."""
    return functional.avg_pool3d(torch.from_numpy(fine)[None], factor)[0].numpy()
