"""Axial slices of a volume: a selection of them, and differences between and within them."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.image.resample import Image
from chiasm.image.volume import Volume
from chiasm.scoring.common_grid import checked_mask


def axial_axis(image: Image) -> int:
    """The array axis that lies closest to the foot-head direction."""
    return int(np.flatnonzero(nib.orientations.io_orientation(image.affine)[:, 0] == 2)[0])


def spread(mask: np.ndarray, axis: int, count: int) -> range:
    """Indices of ``count`` evenly spaced slices of the foreground, or of all if it has fewer.

    The foreground is cut into ``count`` slabs of the same thickness. The middle slice of each slab
    is taken.

    Parameters
    ----------
    mask : bool array, shape (I, J, K)
        The foreground mask; not empty.
    axis : int
        The array axis along which slices are stacked.
    count : int
        Number of slices, at least 1.
    """
    others = tuple(k for k in range(mask.ndim) if k != axis)
    inside = np.flatnonzero(mask.any(axis=others))
    first, extent = int(inside[0]), int(inside[-1] - inside[0]) + 1
    count = min(count, extent)
    step = extent // count
    start = first + (extent - (count - 1) * step - 1) // 2
    return range(start, start + count * step, step)


def take(image: Image, axis: int, indices: range) -> Image:
    """The slices ``indices`` of an image or a label map, at their places in scanner space."""
    affine = np.array(image.affine)
    affine[:3, 3] += affine[:3, axis] * indices.start
    affine[:3, axis] *= indices.step
    array = np.ascontiguousarray(np.take(image.array, indices, axis=axis))
    return replace(image, array=array, affine=affine)


def slice_jump(volume: Volume, mask: np.ndarray, axis: int) -> float:
    """Mean absolute difference between neighbouring slices inside the foreground.

    Parameters
    ----------
    volume : Volume, shape (I, J, K)
    mask : bool array, shape (I, J, K)
        The foreground mask. A pair of neighbouring voxels counts if both lie inside.
    axis : int
        The array axis along which slices are stacked.

    Returns
    -------
    float
        At least 0, in the volume's units.

    Raises
    ------
    CaseError
        The mask is empty, has another shape, or has no two neighbours along the axis.
    """
    inside = np.moveaxis(checked_mask(mask, volume.shape), axis, 0)
    pairs = inside[1:] & inside[:-1]
    if not pairs.any():
        problem = f"has no two neighbours along axis {axis}"
        raise CaseError(
            explain("--mask", "", problem, "a foreground in at least two neighbouring slices")
        )
    step = np.diff(np.moveaxis(volume.array.astype(np.float64), axis, 0), axis=0)
    return float(np.abs(step[pairs]).mean())


def sharpness(volume: Volume, mask: np.ndarray, axis: int) -> float:
    """Mean absolute difference between neighbouring voxels of a slice inside the foreground.

    It is the mean of `slice_jump` along the two other axes, a measure of the gradient. Blur lowers
    it, and noise raises it.

    Parameters
    ----------
    volume : Volume, shape (I, J, K)
    mask : bool array, shape (I, J, K)
        The foreground mask.
    axis : int
        The array axis along which slices are stacked.

    Returns
    -------
    float
        At least 0, in the volume's units.

    Raises
    ------
    CaseError
        As `slice_jump`.
    """
    return float(np.mean([slice_jump(volume, mask, k) for k in range(3) if k != axis]))
