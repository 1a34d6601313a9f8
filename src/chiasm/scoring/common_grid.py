"""Check that a prediction, its truth and a mask share one grid."""

from __future__ import annotations

from typing import Annotated

import nibabel as nib
import numpy as np
from pydantic import BeforeValidator

from chiasm.errors import CaseError, explain
from chiasm.image.mask import told_apart
from chiasm.image.volume import LabelVolume, Volume

# JSON has neither NaN nor infinity. Both are written as null, and null is read back as NaN.
Score = Annotated[float, BeforeValidator(lambda value: np.nan if value is None else value)]


def check_same_grid(
    image: Volume | LabelVolume,
    truth: Volume | LabelVolume,
    argument: str = "pred",
    name: str = "image",
) -> None:
    """Refuse two images that do not lie on the same grid.

    Parameters
    ----------
    image, truth : Volume or LabelVolume
    argument, name : str
        The argument and the name of the first image, for the error.

    Raises
    ------
    CaseError
        The shapes or the affines differ.
    """
    if not image.same_grid(truth):
        own, wanted = told_apart(image, truth)
        problem = f"lies on another grid than the truth ({own})"
        raise CaseError(explain(argument, name, problem, f"{wanted}, or --resample"))


def share_in_view(
    image: Volume | LabelVolume, truth: Volume | LabelVolume, inside: np.ndarray
) -> float:
    """The share of certain voxels of the truth that lie in another image's field of view.

    Parameters
    ----------
    image : Volume or LabelVolume
        The other image.
    truth : Volume or LabelVolume
    inside : bool array, shape of the truth
        The voxels. If there are none, all voxels of the truth are taken.

    Returns
    -------
    float
        From 0 to 1.
    """
    voxels = np.argwhere(inside if inside.any() else np.ones(truth.shape, dtype=bool))
    positions = nib.affines.apply_affine(np.linalg.inv(image.affine) @ truth.affine, voxels)
    half = 0.5 + 1e-4  # files hold rounded affines
    seen = ((positions >= -half) & (positions <= np.array(image.shape) - 1 + half)).all(axis=1)
    return float(seen.mean())


def checked_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask as a boolean array of the given shape that is not empty.

    Raises
    ------
    CaseError
        The shape differs, or no voxel is inside.
    """
    mask = np.asarray(mask).astype(bool)
    if mask.shape != tuple(shape):
        raise CaseError(explain("--mask", mask.shape, "has another shape", f"{tuple(shape)}"))
    if not mask.any():
        raise CaseError(explain("--mask", "empty", "has no voxel inside", "at least one voxel"))
    return mask
