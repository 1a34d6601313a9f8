"""One grid for a prediction, its truth and their mask: checked, or made by resampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypeVar

import nibabel as nib
import numpy as np
from pydantic import BeforeValidator

from chiasm.errors import CaseError, explain
from chiasm.volume import LabelVolume, Volume

Image = TypeVar("Image", Volume, LabelVolume)

# JSON has neither NaN nor infinity: both are written as null, and null is read back as NaN.
Score = Annotated[float, BeforeValidator(lambda value: np.nan if value is None else value)]


def describe(image: Volume | LabelVolume) -> str:
    """A grid in words: voxels, spacing, orientation and the first voxel's place in mm."""
    size = "×".join(map(str, image.shape))
    step = "×".join(f"{s:.3g}" for s in image.spacing)
    origin = ", ".join(f"{o:.1f}" for o in image.affine[:3, 3])
    return f"{size} voxels of {step} mm, {image.orientation} from ({origin})"


def check_same_grid(
    image: Volume | LabelVolume,
    truth: Volume | LabelVolume,
    argument: str = "pred",
    name: str = "image",
) -> None:
    """Refuse two images whose voxels do not lie at the same places.

    Parameters
    ----------
    image, truth : Volume or LabelVolume
    argument, name : str
        How the user called the first, for the error.

    Raises
    ------
    CaseError
        If shapes or affines differ.
    """
    if not image.same_grid(truth):
        problem = f"lies on another grid than the truth ({describe(image)})"
        raise CaseError(explain(argument, name, problem, f"{describe(truth)}, or --resample"))


def checked_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask as a boolean array, which has the given shape and is not empty.

    Raises
    ------
    CaseError
        If its shape differs, or no voxel is inside.
    """
    mask = np.asarray(mask).astype(bool)
    if mask.shape != tuple(shape):
        raise CaseError(explain("--mask", mask.shape, "has another shape", f"{tuple(shape)}"))
    if not mask.any():
        raise CaseError(explain("--mask", "empty", "has no voxel inside", "at least one voxel"))
    return mask


def resample_onto(image: Image, truth: Volume | LabelVolume) -> Image:
    """An image on the grid of another: linear for intensities, nearest neighbour for labels.

    Outside the image's own voxels lies its smallest value (air in MR and CT), or label 0.

    Parameters
    ----------
    image : Volume or LabelVolume
    truth : Volume or LabelVolume
        Gives the shape and affine of the result.
    """
    from nibabel.processing import resample_from_to

    labels = isinstance(image, LabelVolume)
    resampled = resample_from_to(
        nib.Nifti1Image(image.array, image.affine),
        (truth.shape, truth.affine),
        order=0 if labels else 1,
        # "constant" would blank the outermost voxels whenever rounding puts them 1e-12 outside.
        mode="grid-constant",
        cval=0 if labels else float(image.array.min()),
    )
    return replace(image, array=np.asarray(resampled.dataobj), affine=truth.affine)
