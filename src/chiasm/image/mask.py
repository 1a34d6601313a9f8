"""Checks of a mask that the user gives for a scan."""

from __future__ import annotations

import logging
from itertools import product
from typing import Any

import nibabel as nib
import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.image.foreground import foreground_mask
from chiasm.image.volume import LabelVolume, Volume

_log = logging.getLogger("chiasm")

_SAME_POSITION = 0.1  # voxels; a mask that is shifted by less covers the same anatomy
_ROUNDING = 1e-3  # mm; affines are rounded in files
_PERCENT, _BYTE = 100, 255  # the largest values of soft masks in whole numbers
_MANY_VALUES = 1000  # different whole numbers; no atlas has this many structures
# Intensities are scaled by the percentiles 0.5 and 99.5 of the foreground. Among fewer than 200
# voxels these are the smallest and the largest value.
_FEWEST_VOXELS = 200
# A single 1 mm slice, 3 mm below the top of a stripped brain, covers 3 cm², or 0.3 mL. The brain
# of a mouse has 0.4 mL.
_SMALLEST = 0.1  # mL


def fitted_mask(
    mask: Volume | LabelVolume | np.ndarray,
    volume: Volume,
    *,
    argument: str = "--mask",
    name: str = "",
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The voxels of a scan that are inside a mask.

    - If the mask has 0 and one other value, or is a label map, all voxels above 0 are inside.
    - A soft mask (probabilities from 0 to 1, or values from 0 to 100 or to 255) is thresholded at
      half of its maximum, with a warning. Whole numbers count as a soft mask if the largest is
      100 or 255 and more than half of the smaller whole numbers occur.
    - If the grid of the mask differs by less than a tenth of a voxel everywhere, the mask is used
      without resampling, and a warning gives the distance in mm. A mask on another grid is
      refused (`chiasm.files.beside` resamples a mask that lies beside a scan).

    Parameters
    ----------
    mask : Volume, LabelVolume or array
        An array has the shape of the volume.
    volume : Volume
        The scan.
    argument, name : str
        How the user named the mask, for error messages.

    Returns
    -------
    inside : bool array, shape of the volume
    warnings : tuple of str

    Raises
    ------
    CaseError
        The mask has another grid or shape, holds NaN or negative values, holds the values of an
        image, or has no voxel inside.
    """
    warnings: list[str] = []
    array = np.asarray(mask if isinstance(mask, np.ndarray) else mask.array)
    if isinstance(mask, np.ndarray):
        if array.shape != volume.shape:
            legal = f"the scan's shape {volume.shape}"
            raise CaseError(explain(argument, name, f"has the shape {array.shape}", legal))
    elif moved := _shift(mask, volume, argument, name):
        warnings.append(
            f"{argument} {name}: lies up to {moved:.2g} mm beside the scan; this is less than a "
            "tenth of a voxel, so the mask is used without resampling"
        )
    inside, said = _inside(array, isinstance(mask, LabelVolume), argument, name)
    if not inside.any():
        raise CaseError(explain(argument, name, "has no voxel inside", "at least one above 0"))
    return inside, (*warnings, *said)


def checked_foreground(mask: np.ndarray | None, volume: Volume) -> np.ndarray:
    """The foreground of a scan as a bool array, refused if it is too small.

    Parameters
    ----------
    mask : array, shape of the volume, or None
        A mask as in `fitted_mask`, whose warnings are logged. If it is None, the foreground is
        found with `chiasm.image.foreground.foreground_mask`.
    volume : Volume

    Raises
    ------
    CaseError
        As in `fitted_mask`, or the foreground has fewer than 200 voxels or less than 0.1 mL.
    """
    if mask is None:
        inside = foreground_mask(volume)
    else:
        inside, warnings = fitted_mask(np.asarray(mask), volume)
        for warning in warnings:
            _log.warning("chiasm: warning: %s", warning)
    count = int(np.count_nonzero(inside))
    size = count * abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    if count < _FEWEST_VOXELS or size < _SMALLEST:
        problem = f"has a foreground of {count} voxels ({size:.2g} mL)"
        legal = f"at least {_FEWEST_VOXELS} voxels and {_SMALLEST} mL (did skull stripping fail?)"
        raise CaseError(explain("image", repr(volume), problem, legal))
    return inside


def _inside(
    array: np.ndarray, labels: bool, argument: str, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The voxels inside according to their values, and a warning if the values are ambiguous."""
    if array.dtype == bool:
        return array, ()
    legal = "0 and 1, a label map, or probabilities"
    if array.dtype.kind not in "iuf":
        raise CaseError(explain(argument, name, f"holds values of type {array.dtype}", legal))
    if not np.isfinite(array).all():
        raise CaseError(explain(argument, name, "holds NaN or Inf", legal))
    if array.size and array.min() < 0:
        raise CaseError(explain(argument, name, f"holds negative values ({array.min():g})", legal))
    values = np.unique(array)
    top = float(values[-1]) if values.size else 0.0
    if labels or (values > 0).sum() <= 1:
        return array > 0, ()
    if (values != np.round(values)).any():
        if top > _BYTE:
            problem = f"holds fractions up to {top:g}, as an image does"
            raise CaseError(explain(argument, name, problem, legal))
        return _at_half(array, top, argument, name)
    if top in (_PERCENT, _BYTE) and values.size > top / 2:
        return _at_half(array, top, argument, name)
    if values.size > _MANY_VALUES:
        return array > 0, (
            f"{argument} {name}: holds {values.size} different values, as an image does; all "
            "voxels above 0 are taken as inside",
        )
    return array > 0, ()


def _at_half(
    array: np.ndarray, top: float, argument: str, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    warning = (
        f"{argument} {name}: is a soft mask with values up to {top:.4g}; voxels of at least "
        f"{top / 2:.4g} are taken as inside"
    )
    return array >= top / 2, (warning,)


def _shift(mask: Volume | LabelVolume, volume: Volume, argument: str, name: str) -> float:
    """The largest distance between voxels of the mask and the scan, in mm; 0 on the same grid."""
    if mask.shape == volume.shape:
        corners = np.array(list(product(*((0, n - 1) for n in volume.shape))), dtype=float)
        of_mask = nib.affines.apply_affine(mask.affine, corners)
        steps = nib.affines.apply_affine(np.linalg.inv(volume.affine), of_mask) - corners
        if np.abs(steps).max() < _SAME_POSITION:
            of_scan = nib.affines.apply_affine(volume.affine, corners)
            distance = float(np.linalg.norm(of_mask - of_scan, axis=1).max())
            return distance if distance > _ROUNDING else 0.0
    own, wanted = told_apart(mask, volume)
    problem = f"lies on another grid than the scan: {own}"
    legal = (
        f"the scan's grid, {wanted} (resample the mask onto it by nearest neighbour, for example "
        "with nibabel.processing.resample_from_to(mask, scan, order=0))"
    )
    raise CaseError(explain(argument, name, problem, legal))


def told_apart(one: Any, other: Any) -> tuple[str, str]:
    """Descriptions of two grids, with as many digits as are needed to show the difference.

    Parameters
    ----------
    one, other : Volume or LabelVolume
    """
    for digits in range(1, 9):
        words = tuple(_grid_in_words(image, digits) for image in (one, other))
        if words[0] != words[1]:
            break
    return words  # type: ignore[return-value]


def _grid_in_words(image: Volume | LabelVolume, digits: int) -> str:
    """Shape, spacing, orientation, and the positions of the first and the last voxel in mm."""
    size = "×".join(map(str, image.shape))
    step = "×".join(f"{s:.{digits + 1}f}".rstrip("0").rstrip(".") for s in image.spacing)
    ends = np.array([(0, 0, 0), np.array(image.shape) - 1])
    first, last = (
        ", ".join(f"{x:.{digits}f}" for x in position)
        for position in nib.affines.apply_affine(image.affine, ends)
    )
    return f"{size} voxels of {step} mm, {image.orientation}, from ({first}) to ({last})"
