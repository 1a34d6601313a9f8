"""Where the head is in a scan, what surrounds it, and whether the skull is still there."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel import orientations
from scipy import ndimage
from skimage.filters import threshold_li
from skimage.measure import label

from chiasm.volume import Volume

# Values below which there is air, for units that are absolute (air −1000 HU, fat −100 HU).
_AIR = {"HU": -500.0}
_BOX = 0.95  # a region that fills this much of its bounding box is a padded scan, not a head
# Stripped brains measured up to 1.9 L and 206 cm² (the MNI152 template is a large one), heads from
# 2.6 L and 250 cm². Between them:
_BRAIN_VOLUME = 2250.0  # mL
_BRAIN_SECTION = 230.0  # cm²


def head_mask(volume: Volume) -> np.ndarray:
    """The head, or the brain if it was stripped: its largest part, without holes.

    Where most of the outermost voxels have exactly one value, all that differs from it. Otherwise
    what is above the threshold of least cross-entropy (Li and Lee, Pattern Recognition 26:617,
    1993) after a light blur, or above −500 in a CT. Detached specks are dropped.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    bool array, shape of the volume
    """
    single = tuple(axis for axis, n in enumerate(volume.shape) if n == 1)
    # Without its axes of length 1: along these everything would count as border.
    array = volume.array.squeeze(single)
    return np.expand_dims(_find(array, _AIR.get(volume.units)), single)


def background_value(volume: Volume) -> float:
    """The intensity that surrounds the head: the border's one value, else the median outside."""
    value = _border_value(volume.array)
    if value is not None:
        return value
    outside = volume.array[~head_mask(volume)]
    return float(np.median(outside) if outside.size else volume.array.min())


def looks_unstripped(volume: Volume, mask: np.ndarray | None = None) -> bool:
    """Whether the head is larger than any brain, so that skull and scalp must still be there.

    Parameters
    ----------
    volume : Volume
    mask : bool array, shape of the volume, optional
        The head, if it was found already.

    Returns
    -------
    bool
        True above 2250 mL, or where the largest axial section is above 230 cm².
    """
    mask = head_mask(volume) if mask is None else mask
    turn = orientations.ornt_transform(
        nib.io_orientation(volume.affine), orientations.axcodes2ornt("RAS")
    )
    axial = int(np.flatnonzero(turn[:, 0] == 2)[0])
    in_plane = tuple(axis for axis in range(3) if axis != axial)
    voxel = abs(np.linalg.det(volume.affine[:3, :3]))
    pixel = voxel / volume.spacing[axial]
    section = mask.sum(axis=in_plane).max() * pixel / 100
    return bool(mask.sum() * voxel / 1000 > _BRAIN_VOLUME or section > _BRAIN_SECTION)


def _find(array: np.ndarray, air: float | None) -> np.ndarray:
    surroundings = _border_value(array)
    if air is not None and (surroundings is None or surroundings < air):
        return _solid(ndimage.binary_fill_holes(array > air))
    if surroundings is None:
        blurred = ndimage.gaussian_filter(array, 1)
        above = _closed(blurred > threshold_li(blurred), 2)
        return _solid(ndimage.binary_fill_holes(above))
    mask = array != surroundings
    for box in ndimage.find_objects(mask.astype(np.uint8)):
        part = ndimage.binary_fill_holes(mask[box])
        padded = part.mean() > _BOX and part.size < mask.size
        mask[box] = _find(array[box], air) if padded else _solid(part)
    return mask


def _border_value(array: np.ndarray) -> float | None:
    """The value of more than half of the outermost voxels, if there is one."""
    sides = [
        np.take(array, end, axis=axis).ravel()
        for axis, length in enumerate(array.shape)
        if length > 1
        for end in (0, -1)
    ]
    values, counts = np.unique(np.concatenate(sides), return_counts=True)
    most = counts.argmax()
    return float(values[most]) if counts[most] > counts.sum() / 2 else None


def _closed(mask: np.ndarray, voxels: int) -> np.ndarray:
    grown = ndimage.binary_dilation(mask, iterations=voxels)
    return ndimage.binary_erosion(grown, iterations=voxels, border_value=1)


def _solid(mask: np.ndarray) -> np.ndarray:
    """The largest part that is more than one voxel thick, with what hangs on to it, filled."""
    thick = ndimage.binary_dilation(ndimage.binary_erosion(mask, border_value=1))
    parts = label(thick, connectivity=1)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    if not sizes.any():
        return mask
    largest = parts == sizes.argmax()
    return ndimage.binary_fill_holes(ndimage.binary_dilation(largest, iterations=2) & mask)
