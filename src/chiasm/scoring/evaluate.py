"""``chiasm evaluate``: read a prediction and its truth, and score the prediction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from pydantic import BaseModel, ConfigDict

from chiasm import files
from chiasm.errors import CaseError, UsageError, explain
from chiasm.files.nifti import affine_in_mm
from chiasm.image.mask import fitted_mask, told_apart
from chiasm.image.resample import Image, resample_onto
from chiasm.image.volume import LabelVolume, Volume
from chiasm.scoring.common_grid import check_same_grid, checked_mask, share_in_view
from chiasm.scoring.image import ImageScores, image_scores
from chiasm.scoring.labels import LabelScores, label_scores

_SMALL_OVERLAP = 0.5  # share of the truth's foreground in the prediction's field of view

Source: TypeAlias = str | Path | Volume | LabelVolume | SpatialImage


class Evaluation(BaseModel):
    """The two images that were compared, and their scores. NaN and infinity are null in JSON.

    Attributes
    ----------
    pred, truth : str
        The files, or a description of images that came from memory.
    resampled : bool
        Whether the prediction was resampled onto the truth's grid.
    warnings : tuple of str
        Reasons to doubt the scores, such as a small overlap of the fields of view.
    image : ImageScores or None
        The scores of images.
    labels : LabelScores or None
        The scores of label maps.
    """

    model_config = ConfigDict(frozen=True)

    pred: str
    truth: str
    resampled: bool
    warnings: tuple[str, ...] = ()
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
    """Score an image (MAE, PSNR, SSIM) or a label map (Dice, HD95, ASSD) against the truth.

    Parameters
    ----------
    pred, truth : path, Volume, LabelVolume or nibabel image
        Images with three spatial axes in the same units, or label maps.
    mask : as above, or bool array of the truth's shape, optional
        Voxels above 0 are compared. By default this is the truth's foreground for images, and
        every voxel for label maps.
    labels : bool
        Whether both are label maps. They are scored by `label_scores`, which counts lesion as
        white matter; images are scored by `image_scores`.
    resample : bool
        Whether ``pred`` and ``mask`` are resampled onto the truth's grid if theirs differs. Images
        are resampled linearly, labels and masks by nearest neighbour.

    Raises
    ------
    CaseError
        A file cannot be read; the grids differ and ``resample`` is False; the prediction's field
        of view shows none of the compared voxels; the mask is empty; or the truth has no contrast
        inside the mask.
    UsageError
        One of them is a `LabelVolume`, but ``labels`` is False.
    """
    if labels:
        true_map = _label_volume(truth, "--truth")
        read_map = _label_volume(pred, "--pred")
        pred_map, moved = _on_grid(read_map, true_map, resample, "--pred", _name(pred))
        where = _mask(mask, true_map, resample)
        warnings = _check_overlap(read_map, true_map, where, _name(pred)) if moved else ()
        overlap = label_scores(pred_map, true_map, mask=where)
        return Evaluation(
            pred=_name(pred),
            truth=_name(truth),
            resampled=moved,
            warnings=warnings,
            labels=overlap,
        )
    true_image = _volume(truth, "--truth")
    read_image = _volume(pred, "--pred")
    pred_image, moved = _on_grid(read_image, true_image, resample, "--pred", _name(pred))
    where = _mask(mask, true_image, resample)
    warnings = _check_overlap(read_image, true_image, where, _name(pred)) if moved else ()
    scores = image_scores(pred_image, true_image, where)
    return Evaluation(
        pred=_name(pred),
        truth=_name(truth),
        resampled=moved,
        warnings=warnings,
        image=scores,
    )


def _check_overlap(
    image: Volume | LabelVolume,
    truth: Volume | LabelVolume,
    mask: np.ndarray | None,
    name: str,
) -> tuple[str, ...]:
    """Refuse a prediction that shows none of the truth's foreground; warn if it shows under half.

    The foreground is the mask, the labelled voxels, or the foreground that is found in an image.
    """
    if mask is not None:
        inside = checked_mask(mask, truth.shape)
    elif isinstance(truth, Volume):
        from chiasm.image.foreground import foreground_mask

        inside = foreground_mask(truth)
    else:
        inside = truth.array > 0
    share = share_in_view(image, truth, inside)
    if share == 0:
        one, other = told_apart(image, truth)
        problem = f"shows none of the compared voxels: {one}"
        legal = f"an image whose field of view overlaps with that of the truth, {other}"
        raise CaseError(explain("--pred", name, problem, legal))
    if share < _SMALL_OVERLAP:
        seen = f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"
        return (f"--pred {name}: its field of view covers {seen} of the truth's foreground",)
    return ()


def _name(source: Source) -> str:
    """The name of a source. Bytes of a file name that are not UTF-8 are written as escapes."""
    return _described(source).encode(errors="backslashreplace").decode()


def _described(source: Source) -> str:
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
        return Volume(_three_axes(source), affine_in_mm(source))
    from chiasm.files import read

    return read(source, argument=argument)


def _label_volume(source: Source, argument: str) -> LabelVolume:
    if isinstance(source, LabelVolume):
        return source
    if isinstance(source, Volume):
        return LabelVolume(source.array, source.affine, labels=())
    if isinstance(source, SpatialImage):
        return LabelVolume(_three_axes(source), affine_in_mm(source), labels=())
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
    if isinstance(mask, LabelVolume):
        return _on_grid(mask, truth, resample, "--mask", name)[0].array > 0
    found = files.read_mask(mask) if isinstance(mask, str | Path) else _volume(mask, "--mask")
    laid, _ = _on_grid(found, truth, resample, "--mask", name)
    lattice = Volume(np.zeros(truth.shape, np.float32), truth.affine)
    return fitted_mask(laid, lattice, argument="--mask", name=name)[0]
