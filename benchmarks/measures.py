"""Measures that only the tables use."""

from __future__ import annotations

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.image.volume import Volume
from chiasm.scoring.slices import sharpness, slice_jump


def slice_anisotropy(volume: Volume, mask: np.ndarray, axis: int) -> float:
    """`chiasm.scoring.slices.slice_jump` along one axis, divided by its mean along the others.

    Blur or noise that is alike in all directions hardly changes the ratio. What it shows is how
    much more slices differ from each other than neighbours within a slice do.

    Parameters
    ----------
    volume : Volume, shape (I, J, K)
        Of any scale; voxels that are longer along one axis raise it.
    mask : bool array, shape (I, J, K)
        The foreground.
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
        The mask as in `slice_jump`; the volume is constant in the foreground.
    """
    along = slice_jump(volume, mask, axis)
    within = sharpness(volume, mask, axis)
    if not within and not along:
        raise CaseError(
            explain("volume", "", "is constant in the foreground", "an image with contrast")
        )
    return float(along / within) if within else float("inf")
