"""Axial slices of a volume: some of them as a volume of their own, and how far neighbours jump."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.evaluation.common_grid import Image, check_same_grid, checked_mask
from chiasm.intensity import on_unit_range
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


def slice_jump(volume: Volume, mask: np.ndarray, axis: int) -> float:
    """Mean absolute difference between neighbouring slices, inside the head.

    Parameters
    ----------
    volume : Volume, shape (I, J, K)
    mask : bool array, shape (I, J, K)
        The head; a pair of neighbouring voxels counts where both lie in it.
    axis : int
        That the slices are stacked along.

    Returns
    -------
    float
        In the volume's units, ≥ 0.

    Raises
    ------
    CaseError
        The mask is empty or of another shape, or has no two neighbours along the axis.
    """
    inside = np.moveaxis(checked_mask(mask, volume.shape), axis, 0)
    pairs = inside[1:] & inside[:-1]
    if not pairs.any():
        problem = f"has no two neighbours along axis {axis}"
        raise CaseError(explain("--mask", "", problem, "a head in at least two slices"))
    step = np.diff(np.moveaxis(volume.array.astype(np.float64), axis, 0), axis=0)
    return float(np.abs(step[pairs]).mean())


def slice_anisotropy(volume: Volume, mask: np.ndarray, axis: int) -> float:
    """`slice_jump` along one axis over its mean along the others.

    A blur or noise that is alike in all directions hardly changes it: what is left is what slices
    do to each other.

    Parameters
    ----------
    volume : Volume, shape (I, J, K)
        Of any scale; voxels that are longer along one axis raise it.
    mask : bool array, shape (I, J, K)
        The head.
    axis : int
        That the slices are stacked along.

    Returns
    -------
    float
        ≥ 0; 1 where neighbours differ as much along ``axis`` as within a slice; infinite where
        they differ along it alone.

    Raises
    ------
    CaseError
        The mask as in `slice_jump`; the volume is constant in the head.
    """
    along = slice_jump(volume, mask, axis)
    within = np.mean([slice_jump(volume, mask, k) for k in range(3) if k != axis])
    if not within and not along:
        raise CaseError(explain("volume", "", "is constant in the head", "an image with contrast"))
    return float(along / within) if within else float("inf")


def slice_jump_ratio(
    result: Volume, real: Volume, mask: np.ndarray, axis: int | None = None
) -> float:
    """`slice_jump` of a translation over that of the real image; 1 is as smooth as the real one.

    Parameters
    ----------
    result, real : Volume, shape (I, J, K)
        On one grid; each is laid on its own unit range (`chiasm.intensity.on_unit_range`).
    mask : bool array, shape (I, J, K)
        The head.
    axis : int, optional
        That the slices are stacked along; by default the one from foot to head.

    Raises
    ------
    CaseError
        Grids differ; the mask as in `slice_jump`; the real image is constant from slice to slice.
    """
    check_same_grid(result, real)
    if axis is None:
        axis = axial_axis(real)
    jumps = [slice_jump(on_unit_range(one, mask), mask, axis) for one in (result, real)]
    if not jumps[1]:
        problem = f"does not change along axis {axis}"
        raise CaseError(explain("--truth", "image", problem, "an image with contrast"))
    return jumps[0] / jumps[1]
