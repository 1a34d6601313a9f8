"""One method on one case: a row of scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chiasm.comparison.cases import Case
from chiasm.comparison.methods import Candidate
from chiasm.image.resample import Image
from chiasm.image.volume import LabelVolume, Volume
from chiasm.scoring.image import image_scores
from chiasm.scoring.labels import label_scores
from chiasm.scoring.slices import axial_axis, sharpness, slice_jump

Row = dict[str, Any]
_MARGIN = 6  # voxels around the foreground; more than half of the window of SSIM


@dataclass(frozen=True)
class Scored:
    """The image and labels that a method made of a case, and its row of scores."""

    row: Row
    image: Volume | None
    labels: LabelVolume


def score(case: Case, candidate: Candidate) -> Scored:
    """Translate, segment and score one case.

    A method that reads neighbouring slices or other planes is given the complete scan. Only the
    slices of the case are scored.

    Parameters
    ----------
    case : Case
    candidate : Candidate
        If it is a segmenter alone, its row has no image scores.

    Returns
    -------
    Scored
        Its row can be written as JSON and has these keys:

        - ``pair``, ``method``, ``subject``, ``session``;
        - ``psnr`` (dB), ``ssim`` and ``mae`` inside the case's mask. Both images are scaled to
          [0, 1] by their own percentiles (`chiasm.image.intensity.on_unit_range`) and are 0
          outside. SSIM is computed in axial slices;
        - ``sharpness`` and ``slice_jump``, relative to those of the real image;
        - ``dice_<structure>`` for each structure, and the means ``dice``, ``hd95`` (mm) and
          ``assd`` (mm) over the structures;
        - ``seconds``, ``seconds_per_slice`` of the foreground, and the peak ``memory_mb``, all of
          the translation, or of the segmentation if there is no translation;
        - ``trained_on``.

        A score that does not exist is None. So is a distance to a structure that was missed.

    Raises
    ------
    CaseError
        The image cannot be processed, or its translation has no contrast.
    """
    complete = case.complete if candidate.reads_more_than_slices else None
    source, mask = (
        (case.source, case.mask) if complete is None else (complete.source, complete.mask)
    )
    made = candidate.pipeline.process(source, mask)
    image, labels = made.translation, made.labels
    if complete is not None:
        image, labels = complete.slices(image), complete.slices(labels)
    assert labels is not None  # every candidate has a segmenter
    axis = axial_axis(source)
    others = tuple(k for k in range(mask.ndim) if k != axis)
    row = _names(case, candidate.name)
    row |= _image_row(case, image, axis) | _label_row(case, labels)
    step = "segmentation" if candidate.pipeline.translator is None else "translation"
    cost = made.record[step]["cost"]
    row["seconds"] = cost["seconds"]
    row["seconds_per_slice"] = cost["seconds"] / int(mask.any(axis=others).sum())
    row["memory_mb"] = cost["memory_mb"]
    row["trained_on"] = candidate.trained_on
    row["warnings"] = " ".join((*case.warnings, *made.warnings))
    return Scored({**row, **case.facts}, image, labels)


def score_real(case: Case) -> Scored:
    """Score the real target image in place of a translation. This is the ceiling."""
    row = _names(case, real_name(case.real.modality))
    row |= dict.fromkeys(_IMAGE_SCORES) | _label_row(case, case.real_labels)
    row |= dict.fromkeys(("seconds", "seconds_per_slice", "memory_mb", "trained_on"))
    row["warnings"] = " ".join(case.warnings)
    return Scored({**row, **case.facts}, case.real, case.real_labels)


def real_name(target: str | None) -> str:
    """The method name in the rows of the real target image."""
    return f"real {target}"


_IMAGE_SCORES = ("psnr", "ssim", "mae", "sharpness", "slice_jump")


def _names(case: Case, method: str) -> Row:
    return {
        "pair": case.pair,
        "method": method,
        "subject": case.subject,
        "session": case.session,
    }


def _image_row(case: Case, image: Volume | None, axis: int) -> Row:
    if image is None:
        return dict.fromkeys(_IMAGE_SCORES)
    box = _box(case.mask)
    mask = case.mask[box]
    made, real = _cut(case.on_unit_range(image), box), _cut(case.real_on_unit_range, box)
    scores = image_scores(made, real, mask, slice_axis=axis)
    jump = np.nan
    if case.adjacent and mask.shape[axis] > 1:
        jump = slice_jump(made, mask, axis) / slice_jump(real, mask, axis)
    sharp = sharpness(made, mask, axis) / sharpness(real, mask, axis)
    values = (scores.psnr, scores.ssim, scores.mae, sharp, jump)
    return dict(zip(_IMAGE_SCORES, map(_finite, values), strict=True))


def _label_row(case: Case, labels: LabelVolume) -> Row:
    reference = case.reference
    box = _box((reference.array > 0) | (labels.array > 0) | case.mask)
    scores = label_scores(_cut(labels, box), _cut(reference, box))
    row = {f"dice_{one.name}": _finite(one.dice) for one in scores.labels}
    return row | {key: _finite(getattr(scores, key)) for key in ("dice", "hd95", "assd")}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The bounding box of a mask, with a margin."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0) - _MARGIN, where.max(axis=0) + 1 + _MARGIN
    return tuple(slice(max(0, int(a)), int(b)) for a, b in zip(low, high, strict=True))


def _cut(image: Image, box: tuple[slice, ...]) -> Image:
    affine = np.array(image.affine)
    affine[:3, 3] += affine[:3, :3] @ [one.start for one in box]
    return replace(image, array=image.array[box], affine=affine)
