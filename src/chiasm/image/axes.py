"""Brings an array to a lattice whose axes are parallel to its own, and back.

Each axis of the new lattice follows one axis of the array: its voxels lie at fractional indices
``start + step · k``. `chiasm export` copies this file into a bundle, so it imports nothing else of
Chiasm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import gaussian_filter1d

SAME_SPACING = 1e-3  # relative; spacings that differ by less count as equal
ROUND = 7  # decimals of a voxel; smaller differences come from the rounding of affines
_AXES = (-3, -2, -1)  # the axes of a lattice follow those of the channels
_EDGE = 1e-4  # voxels; a centre this close to the edge of the field of view counts as inside


class Along(NamedTuple):
    """The axes of a new lattice.

    Parameters
    ----------
    axes : three ints
        For each axis, the axis of the array that it follows.
    steps : three floats
        Distance of the voxels, in voxels of the array; negative if the axis is flipped.
    starts : three floats
        Fractional index of the first voxel.
    """

    axes: np.ndarray
    steps: np.ndarray
    starts: np.ndarray


def ratio_of(wanted: float | None, have: float) -> float:
    """New spacing / spacing of the array; 1 if None is wanted, or if they are nearly equal."""
    if wanted is None or abs(wanted / have - 1) < SAME_SPACING:
        return 1.0
    return wanted / have


def centred(
    first: int,
    last: int,
    step: float,
    *,
    multiple: int = 1,
    least: int = 1,
    size: int | None = None,
) -> tuple[float, int]:
    """Place voxels about the middle of a part of an axis, and pad them on both sides.

    Parameters
    ----------
    first, last : int
        The first voxel of the part, and one past its last.
    step : float
        Distance of the new voxels, see `Along`.
    multiple, least : int
        The number of new voxels is a multiple of the one, and not smaller than the other.
    size : int, optional
        Exact number of new voxels.

    Returns
    -------
    start : float
        Fractional index of the first new voxel.
    count : int
        Number of new voxels.
    """
    extent = max(1, math.ceil((last - first) / abs(step) - SAME_SPACING))
    count = size or math.ceil(max(extent, least) / multiple) * multiple
    before = (count - extent) // 2
    return (first + last - 1) / 2 - step * (before + (extent - 1) / 2), count


def bring(
    array: np.ndarray, along: Along, shape: Sequence[int], fill: float, labels: bool = False
) -> np.ndarray:
    """Bring an array (..., I, J, K) to a lattice of this shape, see `Grid.apply`."""
    array = np.moveaxis(array, along.axes - 3, _AXES)
    positions = [
        start + step * np.arange(length)
        for start, step, length in zip(along.starts, along.steps, shape, strict=True)
    ]
    lengths = array.shape[-3:]
    array = np.array(_resample(array, positions, abs(along.steps), labels), order="C")
    return _filled(array, positions, lengths, fill)


def bring_back(
    array: np.ndarray, along: Along, shape: Sequence[int], fill: float, labels: bool = False
) -> np.ndarray:
    """Bring an array (..., X, Y, Z) back to the lattice of this shape, see `Grid.invert`."""
    positions, inner = [], []
    covered: tuple[Any, ...] = (...,)
    size = array.shape[-3:]
    for axis, step, start, length in zip(*along, size, strict=True):
        extent = shape[axis]
        points = np.round((np.arange(extent) - start) / step, ROUND)
        # Padding is not part of the image, so interpolation must not reach into it.
        used = np.flatnonzero(_is_within(start + step * np.arange(length), extent))
        positions.append(points)
        inner.append(points - used[0])
        covered += (slice(used[0], used[-1] + 1),)
    array = _resample(array[covered], inner, 1 / abs(along.steps), labels)
    back = np.array(np.moveaxis(array, _AXES, along.axes - 3), order="C")
    _filled(np.moveaxis(back, along.axes - 3, _AXES), positions, size, fill)
    return back


def _is_within(positions: np.ndarray, length: int) -> np.ndarray:
    """Which fractional indices lie in the field of view of an axis of ``length`` voxels."""
    return np.abs(positions - (length - 1) / 2) <= length / 2 + _EDGE


def _filled(
    array: np.ndarray, positions: Sequence[np.ndarray], lengths: Sequence[int], fill: float
) -> np.ndarray:
    """``array``, set to ``fill`` in place where the ``positions`` are outside the field of view."""
    for axis, points, length in zip(_AXES, positions, lengths, strict=True):
        outside = ~_is_within(points, length)
        if outside.any():
            np.moveaxis(array, axis, 0)[outside] = fill
    return array


def _resample(
    array: np.ndarray, positions: Sequence[np.ndarray], factors: np.ndarray, labels: bool
) -> np.ndarray:
    """Sample the last three axes of ``array`` at fractional indices, ``factors`` voxels apart.

    The result can be a view of ``array``.
    """
    whole, overshoots = array, False
    for axis, points, factor in zip(_AXES, positions, factors, strict=True):
        length = array.shape[axis]
        inside = np.clip(points, 0, length - 1)
        on_voxels = factor <= 1 + SAME_SPACING and (inside == np.round(inside)).all()
        if labels or on_voxels or length == 1:
            index = np.floor(inside + 0.5).astype(int)
            along = np.moveaxis(array, axis, 0)
            array = np.moveaxis(along[_as_slice(index)], 0, axis)
        else:
            weights = _weights(inside, length, factor).astype(np.float32)
            array = np.moveaxis(np.tensordot(array, weights, (axis, 1)), -1, axis)
            overshoots = True
    return np.clip(array, whole.min(), whole.max()) if overshoots else array


def _as_slice(index: np.ndarray) -> Any:
    """A slice in place of indices that follow each other: it copies nothing."""
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if abs(step) != 1 or (np.diff(index) != step).any():
        return index
    end = int(index[-1]) + step
    return slice(int(index[0]), end if end >= 0 else None, step)


def _weights(positions: np.ndarray, length: int, factor: float) -> np.ndarray:
    """The matrix, shape (len(positions), length), that samples a line ``factor`` voxels apart."""
    basis = np.eye(length)
    if factor > 1 + SAME_SPACING:
        # A Gaussian's full width at half maximum is σ √(8 ln 2); variances add.
        sigma = math.sqrt((factor**2 - 1) / (8 * math.log(2)))
        basis = gaussian_filter1d(basis, sigma, axis=0, mode="nearest")
    return CubicHermiteSpline(np.arange(length), basis, np.gradient(basis, axis=0))(positions)
