"""Finds the foreground of an array: of a head, or of a skull-stripped brain.

`chiasm export` copies this file into a bundle, so it imports nothing else of Chiasm.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

_log = logging.getLogger("chiasm")

_BOX = 0.95  # a region that fills this share of its bounding box is a padded scan, not a head
# Li's method ended after at most 26 iterations on 30 real scans and on slabs of them.
_LI_ITERATIONS = 200


def find_foreground(array: np.ndarray, air: float | None = None) -> np.ndarray:
    """The foreground, with holes filled; see `chiasm.image.foreground.foreground_mask`.

    Parameters
    ----------
    array : array of intensities, shape (X, Y, Z)
    air : float, optional
        Voxels below this value are air, in units that are absolute.

    Returns
    -------
    bool array, shape (X, Y, Z)
    """
    single = tuple(axis for axis, n in enumerate(array.shape) if n == 1)
    # Axes of length 1 are removed, because along them every voxel would count as border.
    return np.expand_dims(_find(array.squeeze(single), air), single)


class _TooManyIterationsError(Exception):
    """Ends `skimage.filters.threshold_li`, which has no limit on its iterations."""


def _bounded_li(array: np.ndarray, **options: Any) -> float | None:
    """The threshold of Li's method, or None if it has not converged after 200 iterations."""
    count = 0

    def limit(_: float) -> None:
        nonlocal count
        count += 1
        if count > _LI_ITERATIONS:
            raise _TooManyIterationsError

    try:
        from skimage.filters import threshold_li

        return float(threshold_li(array, iter_callback=limit, **options))
    except _TooManyIterationsError:
        return None


def _least_cross_entropy(array: np.ndarray) -> float:
    """The threshold of minimum cross-entropy (Li and Lee 1993).

    In float32, rounding can make the iterations oscillate without end, because their default
    tolerance is half of the smallest difference between two intensities (scikit-image issue 7790).
    They are then repeated in float64 with a tolerance of a millionth of the intensity range.
    Without rounding the threshold only moves in one direction, so the iterations converge. If
    they still do not, Otsu's threshold is used and a warning is logged.
    """
    found = _bounded_li(array)
    if found is None:
        wide = array.astype(np.float64)
        found = _bounded_li(wide, tolerance=1e-6 * float(np.ptp(wide)))
    if found is None:
        _log.warning("Li's threshold does not converge; the foreground is found by Otsu's method")
        from skimage.filters import threshold_otsu

        found = float(threshold_otsu(array))
    return found


def _find(array: np.ndarray, air: float | None) -> np.ndarray:
    surroundings = border_value(array)
    if air is not None and (surroundings is None or surroundings < air):
        return largest_part(ndimage.binary_fill_holes(array > air))
    if surroundings is None:
        blurred = ndimage.gaussian_filter(array, 1)
        above = _closed(blurred > _least_cross_entropy(blurred), 2)
        return largest_part(ndimage.binary_fill_holes(above))
    mask = array != surroundings
    for box in ndimage.find_objects(mask.astype(np.uint8)):
        part = ndimage.binary_fill_holes(mask[box])
        varies = array[box].min() < array[box].max()  # true of a scan, but not of a single voxel
        padded = varies and part.mean() > _BOX and part.size < mask.size
        mask[box] = _find(array[box], air) if padded else largest_part(part)
    return mask


def border_value(array: np.ndarray, axes: Sequence[int] | None = None) -> float | None:
    """The value that more than half of the outermost voxels have (along ``axes``), or None."""
    sides = [
        np.take(array, end, axis=axis).ravel()
        for axis, length in enumerate(array.shape)
        if length > 1 and (axes is None or axis in axes)
        for end in (0, -1)
    ]
    values, counts = np.unique(np.concatenate(sides), return_counts=True)
    most = counts.argmax()
    return float(values[most]) if counts[most] > counts.sum() / 2 else None


def _closed(mask: np.ndarray, voxels: int) -> np.ndarray:
    grown = ndimage.binary_dilation(mask, iterations=voxels)
    return ndimage.binary_erosion(grown, iterations=voxels, border_value=1)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part thicker than one voxel, with its thin edges, and holes filled."""
    thick = ndimage.binary_dilation(ndimage.binary_erosion(mask, border_value=1))
    parts, _ = ndimage.label(thick)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    if not sizes.any():
        return mask
    largest = parts == sizes.argmax()
    return ndimage.binary_fill_holes(ndimage.binary_dilation(largest, iterations=2) & mask)


def enclosed(empty: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The connected parts of ``empty`` that do not touch the outside of ``inside``: bool."""
    components, _ = ndimage.label(empty)
    touching = np.unique(components[ndimage.binary_dilation(~inside) & empty])
    return empty & ~np.isin(components, touching)
