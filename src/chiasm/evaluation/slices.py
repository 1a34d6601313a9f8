"""Axial slices of a volume: some of them as a volume of their own, and how far neighbours jump."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from chiasm.evaluation.common_grid import Image
from chiasm.volume import Volume


def axial_axis(image: Image) -> int:
    """The array axis that lies closest to foot-head."""
    return int(np.flatnonzero(nib.orientations.io_orientation(image.affine)[:, 0] == 2)[0])


def spread(mask: np.ndarray, axis: int, count: int) -> range:
    """Indices of ``count`` evenly spaced slices of the head, or of all if it has fewer.

    The head is cut into ``count`` parts of one thickness, and each part shows its middle slice.

    Parameters
    ----------
    mask : bool array, shape (I, J, K)
        The head; not empty.
    axis : int
        That slices are stacked along.
    count : int
        At least 1.
    """
    others = tuple(k for k in range(mask.ndim) if k != axis)
    inside = np.flatnonzero(mask.any(axis=others))
    first, extent = int(inside[0]), int(inside[-1] - inside[0]) + 1
    count = min(count, extent)
    step = extent // count
    start = first + (extent - (count - 1) * step - 1) // 2
    return range(start, start + count * step, step)


def take(image: Image, axis: int, which: range) -> Image:
    """The slices ``which`` of an image or a label map, where they lay."""
    affine = np.array(image.affine)
    affine[:3, 3] += affine[:3, axis] * which.start
    affine[:3, axis] *= which.step
    array = np.ascontiguousarray(np.take(image.array, which, axis=axis))
    return replace(image, array=array, affine=affine)


def slice_jump(image: Volume, truth: Volume, mask: np.ndarray, axis: int) -> float:
    """Mean absolute difference of neighbouring slices, over that of the true image.

    1 for an image whose slices agree as the truth's do; above, where they were made one by one
    and jump; below, where anatomy is blurred through plane.

    Parameters
    ----------
    image, truth : Volume, shape (I, J, K)
        On one grid and one range.
    mask : bool array, shape (I, J, K)
        Where both voxels of a difference must lie.
    axis : int
        That slices are stacked along.

    Returns
    -------
    float
        NaN where no two neighbours lie in the mask.
    """
    inside = np.moveaxis(mask, axis, 0)
    both = inside[1:] & inside[:-1]
    if not both.any():
        return np.nan
    change, true = (
        float(np.abs(np.diff(np.moveaxis(one.array, axis, 0), axis=0))[both].mean())
        for one in (image, truth)
    )
    return change / true if true else np.nan
