"""The foreground that a brain mask beside a scan gives, for every command alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from chiasm import files
from chiasm.errors import CaseError, explain
from chiasm.files.find import mask_beside
from chiasm.image.mask import fitted_mask
from chiasm.image.volume import Volume


def foreground_beside(
    scan: str | Path, volume: Volume, spacing: float | Sequence[float] | None = None
) -> tuple[np.ndarray | None, tuple[str, ...], Path | None]:
    """The foreground of a scan from the brain mask beside its file.

    A mask on another grid is resampled onto that of the scan by nearest neighbour, with a warning.

    Parameters
    ----------
    scan : path
    volume : Volume
        The scan as it was read.
    spacing : float or three floats, optional
        In mm, for PNG and TIFF files.

    Returns
    -------
    foreground : bool array, shape of the volume, or None
        None if there is no mask beside the scan.
    warnings : tuple of str
    mask : Path or None

    Raises
    ------
    CaseError
        The mask cannot be read, is no mask, or shows nothing of the scan; or there are two masks.
    """
    path = mask_beside(scan)
    if path is None:
        return None, (), None
    mask = files.read_mask(path, spacing=spacing, argument="mask")
    return *fitted_onto(mask, volume, str(path)), path


def fitted_onto(mask: Volume, volume: Volume, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A mask as the foreground of a scan; it is resampled if it lies on another grid."""
    try:
        return fitted_mask(mask, volume, argument="mask", name=name)
    except CaseError:
        if mask.shape == volume.shape and mask.same_grid(volume):
            raise
    image = nib.Nifti1Image(mask.array, mask.affine)
    onto = resample_from_to(image, (volume.shape, volume.affine), order=0, mode="constant")
    array = np.asarray(onto.dataobj)
    if not array.any():
        problem = "shows nothing of the scan"
        raise CaseError(explain("mask", name, problem, "a mask in the scanner space of the scan"))
    inside, said = fitted_mask(Volume(array, volume.affine), volume, argument="mask", name=name)
    moved = f"The mask {name} lies on another grid and was resampled by nearest neighbour."
    return inside, (moved, *said)
