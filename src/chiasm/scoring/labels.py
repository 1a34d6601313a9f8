"""Scores of a label map against the true one: overlap and surface distances of each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import nibabel as nib
import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.image.volume import LabelVolume
from chiasm.scoring.common_grid import Score, check_same_grid, checked_mask


class LabelScore(BaseModel):
    """Agreement on one label. NaN and infinity are null in JSON.

    If neither map holds the label, all scores are NaN, and no mean counts them. If only one map
    holds it, Dice is 0 and the distances are infinite.

    Attributes
    ----------
    value, name : int, str
        Value and name of the label.
    dice : float
        2 |P ∩ T| / (|P| + |T|), from 0 to 1.
    hd95 : float
        Hausdorff distance in mm with the 95th percentile in place of the maximum. It is the larger
        of the percentiles of both directions, as MONAI defines it.
    assd : float
        Average symmetric surface distance in mm, the mean over all points of both surfaces.
    pred_ml, truth_ml : float
        Volumes in the prediction and the truth, in mL.
    """

    model_config = ConfigDict(frozen=True)

    value: int
    name: str
    dice: Score
    hd95: Score
    assd: Score
    pred_ml: float
    truth_ml: float


class LabelScores(BaseModel):
    """Scores of each label, and their means over the labels that either map holds.

    Attributes
    ----------
    labels : tuple of LabelScore
        In ascending order of their values, without background.
    dice, hd95, assd : float
        Means over ``labels``. A distance is infinite (null in JSON) if one label was missed.
    merged : dict of int to int
        Labels that were counted as another label.
    mask : str
        ``"given"``, or ``"none"`` if all voxels were compared.
    """

    model_config = ConfigDict(frozen=True)

    labels: tuple[LabelScore, ...]
    dice: Score
    hd95: Score
    assd: Score
    merged: dict[int, int]
    mask: Literal["none", "given"]


def label_scores(
    pred: LabelVolume,
    truth: LabelVolume,
    *,
    merge: Mapping[int, int] | None = None,
    mask: np.ndarray | None = None,
) -> LabelScores:
    """Dice, HD95, ASSD and volumes of every label in the truth's table or in either map.

    The surface of a label consists of its voxels that share a face with another label or with the
    edge of the image. An axis of one voxel has no edge, so a single slice has outlines. Distances
    are measured between voxel centres in scanner space, so they are correct on anisotropic and
    sheared grids too.

    Parameters
    ----------
    pred, truth : LabelVolume, shape (I, J, K)
        On one grid. Label 0 is background and is not scored.
    merge : mapping of int to int, optional
        Labels that are counted as another label in both maps. By default lesion counts as white
        matter if the truth's table names both, which gives the three-class score. ``{}`` merges
        nothing.
    mask : bool array, shape (I, J, K), optional
        Labels outside the mask count as background in both maps. By default all voxels count.

    Raises
    ------
    CaseError
        The grids differ, or the mask is empty or has another shape.
    """
    check_same_grid(pred, truth)
    merged = _lesion_as_white(truth) if merge is None else dict(merge)
    inside = None if mask is None else checked_mask(mask, truth.shape)
    predicted, true = (_prepared(image.array, merged, inside) for image in (pred, truth))
    names = {label.value: label.name for label in truth.labels if label.value not in merged}
    values = sorted({*names, *np.unique(predicted).tolist(), *np.unique(true).tolist()} - {0})
    scores = tuple(
        _score(
            value,
            names.get(value, f"label-{value}"),
            predicted == value,
            true == value,
            truth.affine,
        )
        for value in values
    )
    present = [score for score in scores if not np.isnan(score.dice)]
    means = {
        key: float(np.mean([getattr(score, key) for score in present])) if present else np.nan
        for key in ("dice", "hd95", "assd")
    }
    return LabelScores(
        labels=scores, merged=merged, mask="none" if mask is None else "given", **means
    )


def _lesion_as_white(truth: LabelVolume) -> dict[int, int]:
    values = {label.name: label.value for label in truth.labels}
    return {values["lesion"]: values["white"]} if {"lesion", "white"} <= values.keys() else {}


def _prepared(
    array: np.ndarray, merged: Mapping[int, int], inside: np.ndarray | None
) -> np.ndarray:
    result = array.copy()
    for old, new in merged.items():
        result[array == old] = new
    return result if inside is None else np.where(inside, result, 0)


def _score(
    value: int, name: str, pred: np.ndarray, truth: np.ndarray, affine: np.ndarray
) -> LabelScore:
    from scipy.spatial.distance import dice

    millilitres = abs(np.linalg.det(affine[:3, :3])) / 1000
    counts = int(pred.sum()), int(truth.sum())
    if all(counts):
        overlap = 1 - float(dice(pred.ravel(), truth.ravel()))
        hd95, assd = _surface_distances(pred, truth, affine)
    else:
        overlap, hd95, assd = (0.0, np.inf, np.inf) if any(counts) else (np.nan,) * 3
    return LabelScore(
        value=value,
        name=name,
        dice=overlap,
        hd95=hd95,
        assd=assd,
        pred_ml=counts[0] * millilitres,
        truth_ml=counts[1] * millilitres,
    )


def _surface_distances(
    pred: np.ndarray, truth: np.ndarray, affine: np.ndarray
) -> tuple[float, float]:
    """HD95 and ASSD in mm of two regions that are not empty.

    MONAI's metrics give the same values, but they take a spacing, so they are wrong on sheared
    grids. They also need torch and 8 s in place of 2 s, because each metric finds every surface
    and distance again.
    """
    from scipy.spatial import KDTree

    points = [_surface_points(region, affine) for region in (pred, truth)]
    there = KDTree(points[1]).query(points[0])[0]
    back = KDTree(points[0]).query(points[1])[0]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def _surface_points(region: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centres in mm, shape (N, 3), of the voxels that an erosion removes from a region."""
    from scipy.ndimage import binary_erosion, generate_binary_structure

    # Axes of length 1 have no neighbours; otherwise every voxel would belong to the surface.
    window = tuple(slice(None) if length > 1 else slice(1, 2) for length in region.shape)
    structure = generate_binary_structure(3, 1)[window]
    surface = region & ~binary_erosion(region, structure)
    return nib.affines.apply_affine(affine, np.argwhere(surface))
