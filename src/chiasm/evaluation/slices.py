"""How much an image jumps from slice to slice: what a translation slice by slice can spoil."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.evaluation.common_grid import check_same_grid, checked_mask
from chiasm.intensity import on_unit_range
from chiasm.volume import Volume


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
        axis = int(np.flatnonzero(nib.orientations.io_orientation(real.affine)[:, 0] == 2)[0])
    jumps = [slice_jump(on_unit_range(one, mask), mask, axis) for one in (result, real)]
    if not jumps[1]:
        problem = f"does not change along axis {axis}"
        raise CaseError(explain("--truth", "image", problem, "an image with contrast"))
    return jumps[0] / jumps[1]
