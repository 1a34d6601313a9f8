"""What ``chiasm evaluate`` does: read a prediction and its truth, and score one by the other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from pydantic import BaseModel, ConfigDict

from chiasm.errors import UsageError, explain
from chiasm.evaluation.common_grid import Image, check_same_grid, resample_onto
from chiasm.evaluation.image import ImageScores, image_scores
from chiasm.evaluation.labels import LabelScores, label_scores
from chiasm.volume import LabelVolume, Volume

Source: TypeAlias = str | Path | Volume | LabelVolume | SpatialImage


class Evaluation(BaseModel):
    """What was compared with what, and how well it agrees; NaN and infinity are null in JSON.

    Attributes
    ----------
    pred, truth : str
        The files, or a description of the images where they came from memory.
    resampled : bool
        Whether the prediction was resampled onto the truth's grid.
    image : ImageScores or None
        For images.
    labels : LabelScores or None
        For label maps.
    """

    model_config = ConfigDict(frozen=True)

    pred: str
    truth: str
    resampled: bool
    image: ImageScores | None = None
    labels: LabelScores | None = None


def evaluate(
    pred: Source,
    truth: Source,
    *,
    mask: Source | np.ndarray | None = None,
    labels: bool = False,
    resample: bool = False,
) -> Evaluation:
    """Score an image (MAE, PSNR, SSIM) or a label map (Dice, HD95, ASSD) by the true one.

    Parameters
    ----------
    pred, truth : path, Volume, LabelVolume or nibabel image
        Three spatial axes, in the same units.
    mask : as above, or bool array of the truth's shape, optional
        Where to compare: voxels above 0. Default: the truth's head for images, everywhere for
        label maps.
    labels : bool
        Both are label maps (`label_scores`, lesion counted as white) rather than images
        (`image_scores`).
    resample : bool
        Resample ``pred`` and ``mask`` onto the truth's grid where theirs differs: images linearly,
        labels and masks by nearest neighbour.

    Raises
    ------
    CaseError
        A file cannot be read; grids differ and ``resample`` is false; the mask is empty; the truth
        has no contrast inside the mask.
    UsageError
        A `LabelVolume` is to be compared as an image.
    """
    if labels:
        true_map = _label_volume(truth, "--truth")
        read_map = _label_volume(pred, "--pred")
        pred_map, moved = _on_grid(read_map, true_map, resample, "--pred", _name(pred))
        overlap = label_scores(pred_map, true_map, mask=_mask(mask, true_map, resample))
        return Evaluation(pred=_name(pred), truth=_name(truth), resampled=moved, labels=overlap)
    true_image = _volume(truth, "--truth")
    read_image = _volume(pred, "--pred")
    pred_image, moved = _on_grid(read_image, true_image, resample, "--pred", _name(pred))
    likeness = image_scores(pred_image, true_image, _mask(mask, true_image, resample))
    return Evaluation(pred=_name(pred), truth=_name(truth), resampled=moved, image=likeness)


def _name(source: Source) -> str:
    if isinstance(source, Volume | LabelVolume):
        return repr(source)
    if isinstance(source, SpatialImage):
        return source.get_filename() or f"<{type(source).__name__} {source.shape}>"
    return str(source)


def _three_axes(image: SpatialImage) -> np.ndarray:
    array = np.asanyarray(image.dataobj)
    one_volume = math.prod(array.shape[3:]) == 1
    return array.reshape((*array.shape, 1)[:3]) if one_volume else array


def _volume(source: Source, argument: str) -> Volume:
    if isinstance(source, LabelVolume):
        legal = "an image, or labels=True for two label maps"
        raise UsageError(explain(argument, source, "is a label map", legal))
    if isinstance(source, Volume):
        return source
    if isinstance(source, SpatialImage):
        return Volume(_three_axes(source), source.affine)
    from chiasm.files import read

    return read(source, argument=argument)


def _label_volume(source: Source, argument: str) -> LabelVolume:
    if isinstance(source, LabelVolume):
        return source
    if isinstance(source, Volume):
        return LabelVolume(source.array, source.affine, labels=())
    if isinstance(source, SpatialImage):
        return LabelVolume(_three_axes(source), source.affine, labels=())
    from chiasm.files import read_labels

    return read_labels(source, argument=argument)


def _on_grid(
    image: Image, truth: Volume | LabelVolume, resample: bool, argument: str, name: str
) -> tuple[Image, bool]:
    """The image on the truth's grid, and whether it had to be resampled."""
    if resample and not image.same_grid(truth):
        return resample_onto(image, truth), True
    check_same_grid(image, truth, argument, name)
    return image, False


def _mask(
    mask: Source | np.ndarray | None, truth: Volume | LabelVolume, resample: bool
) -> np.ndarray | None:
    if mask is None:
        return None
    if isinstance(mask, np.ndarray):
        return mask > 0
    name = _name(mask)
    if isinstance(mask, Volume):
        mask = LabelVolume(mask.array > 0, mask.affine, labels=())
    return _on_grid(_label_volume(mask, "--mask"), truth, resample, "--mask", name)[0].array > 0
