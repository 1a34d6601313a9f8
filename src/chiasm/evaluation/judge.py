"""One method on one case: a row of scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chiasm.cost import Cost, measure
from chiasm.evaluation.cases import Case
from chiasm.evaluation.common_grid import Image
from chiasm.evaluation.image import image_scores
from chiasm.evaluation.labels import label_scores
from chiasm.evaluation.methods import Method
from chiasm.evaluation.slices import axial_axis, slice_jump
from chiasm.segmenters import Segmenter
from chiasm.translators import Translator
from chiasm.volume import LabelVolume, Volume

Row = dict[str, Any]
_MARGIN = 6  # voxels around the head; more than half a window of SSIM


@dataclass(frozen=True)
class Judged:
    """What a method made of a case, and its row of scores; see `judge`."""

    row: Row
    image: Volume | None
    labels: LabelVolume


def judge(case: Case, method: Method, segmenter: Segmenter) -> Judged:
    """Translate, segment and score one case.

    Parameters
    ----------
    case : Case
    method : Method
        A segmenter is judged on the source as it is, and its row has no image scores.
    segmenter : Segmenter
        Of the target modality; segments what translators make, but for methods with their own.

    Returns
    -------
    Judged
        Its row, JSON-able: ``pair``, ``method``, ``subject``, ``session``; ``psnr`` (dB), ``ssim``
        and ``mae`` inside the case's mask, both images on [0, 1] by their own percentiles
        (`chiasm.intensity.on_unit_range`) and 0 outside, SSIM in axial slices; ``slice_jump``;
        ``dice_<structure>``, their mean ``dice``, and the means ``hd95`` and ``assd`` (mm);
        ``seconds``, ``seconds_per_slice`` of the head, ``memory_mb`` at the peak of the translation
        (or of the segmentation, if there is no translation); ``trained_on``. None stands for what
        does not exist, and for a distance to a structure that was missed.

    Raises
    ------
    CaseError
        The image cannot be prepared, or its translation has no contrast.
    """
    made: Cost[Any]
    image: Volume | None = None
    if isinstance(method.model, Translator):
        translate = method.model.translate
        made = measure(lambda: translate(case.source, case.mask), method.device)
        image = made.result.volume
        by = method.own or segmenter
        labels = by.segment(made.result.volume, case.mask, case.source).labels
    else:
        segment = method.model.segment
        made = measure(lambda: segment(case.source, case.mask), method.device)
        labels = made.result.labels
    axis = axial_axis(case.source)
    others = tuple(k for k in range(case.mask.ndim) if k != axis)
    row = _names(case, method.name)
    row |= _image_row(case, image, axis) | _label_row(case, labels)
    row["seconds"] = made.seconds
    row["seconds_per_slice"] = made.seconds / int(case.mask.any(axis=others).sum())
    row["memory_mb"] = made.memory_mb
    row["trained_on"] = method.trained_on
    return Judged({**row, **case.facts}, image, labels)


def judge_real(case: Case) -> Judged:
    """The real target image in place of a translation: the ceiling, which costs nothing."""
    row = _names(case, real_name(case.real.modality))
    row |= dict.fromkeys(_IMAGE_SCORES) | _label_row(case, case.real_labels)
    row |= dict.fromkeys(("seconds", "seconds_per_slice", "memory_mb", "trained_on"))
    return Judged({**row, **case.facts}, case.real, case.real_labels)


def real_name(target: str | None) -> str:
    """What the rows of the real target image are called."""
    return f"real {target}"


_IMAGE_SCORES = ("psnr", "ssim", "mae", "slice_jump")


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
    values = (scores.psnr, scores.ssim, scores.mae, jump)
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
    """The part of the array that shows the mask, with a margin."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0) - _MARGIN, where.max(axis=0) + 1 + _MARGIN
    return tuple(slice(max(0, int(a)), int(b)) for a, b in zip(low, high, strict=True))


def _cut(image: Image, box: tuple[slice, ...]) -> Image:
    affine = np.array(image.affine)
    affine[:3, 3] += affine[:3, :3] @ [one.start for one in box]
    return replace(image, array=image.array[box], affine=affine)
