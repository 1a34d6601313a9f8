"""Resample an image onto the grid of another, by their positions in scanner space."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import nibabel as nib
import numpy as np

from chiasm.image.volume import LabelVolume, Volume

Image = TypeVar("Image", Volume, LabelVolume)


def resample_onto(image: Image, truth: Volume | LabelVolume) -> Image:
    """Resample an image onto the grid of another.

    Intensities are interpolated linearly, labels by nearest neighbour. Outside the field of view
    of the image its smallest value is taken (air in MR and CT), or label 0.

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
        # "constant" would blank the outermost voxels if rounding puts them 1e-12 outside.
        mode="grid-constant",
        cval=0 if labels else float(image.array.min()),
    )
    return replace(image, array=np.asarray(resampled.dataobj), affine=truth.affine)
