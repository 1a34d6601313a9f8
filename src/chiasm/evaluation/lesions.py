"""Lesions of white matter in a translation: contrast kept, lesions erased, lesions invented."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.errors import CaseError, explain
from chiasm.evaluation.common_grid import Score, check_same_grid, checked_mask
from chiasm.volume import Volume

_CONNECTED = np.ones((3, 3, 3), dtype=bool)  # voxels that touch, at a corner too, are one lesion
_REFERENCE = 8.0  # mm, standard deviation of the weights that white matter around is averaged by


class LesionScores(BaseModel):
    """What a translation did to the lesions; NaN is null in JSON.

    Attributes
    ----------
    lesions : int
        Connected components of the truth, of at least the least volume.
    visible : int
        Of these, those whose contrast in the real image exceeds the standard deviation of white
        matter there. Only they can be kept or erased.
    contrast_real, contrast_translated : float
        Mean over the visible lesions' voxels of the intensity minus that of the white matter
        around, in ``units``.
    kept : float
        ``contrast_translated / contrast_real``: 1 is all of it, 0 none, below 0 the wrong sign.
    erased : int
        Visible lesions whose own contrast is kept by less than ``share``.
    invented : int
        Components of white matter, of at least the least volume, that in the translation differ
        from the white matter around by more than ``share`` of ``contrast_real``, and in the real
        image, on average, by less than half of that.
    share, least_ml : float
        As given.
    units : str
        Of the contrasts.
    """

    model_config = ConfigDict(frozen=True)

    lesions: int
    visible: int
    contrast_real: Score
    contrast_translated: Score
    kept: Score
    erased: int
    invented: int
    share: float
    least_ml: float
    units: str


def lesion_scores(
    translated: Volume,
    real: Volume,
    lesion: np.ndarray,
    white: np.ndarray,
    *,
    share: float = 0.5,
    least_ml: float = 0.014,
    margin: float = 2.0,
) -> LesionScores:
    """Lesions of the translated image beside those of the real one.

    The white matter around a voxel is the mean of healthy white matter under Gaussian weights of 8
    mm, so a bias field does not count as contrast.

    Parameters
    ----------
    translated, real : Volume, shape (I, J, K)
        On one grid, in the same units.
    lesion, white : bool array, shape (I, J, K)
        The true lesions, and white matter (whether it includes lesions does not matter).
    share : float
        Of the contrast, in (0, 1].
    least_ml : float
        Volume below which a component is not counted; the default is a ball 3 mm across, the
        least that counts as a lesion in multiple sclerosis.
    margin : float
        In mm: lesions are sought in white matter farther than this from other tissue and from
        true lesions, whose borders mix intensities.

    Raises
    ------
    CaseError
        Grids or shapes differ; there is no lesion, or no white matter.
    """
    from scipy import ndimage

    check_same_grid(translated, real)
    lesion = checked_mask(lesion, real.shape)
    healthy = np.asarray(white, dtype=bool) & ~lesion
    if not healthy.any():
        raise CaseError(explain("white", "empty", "has no voxel without lesion", "white matter"))
    least = least_ml * 1000 / abs(np.linalg.det(real.affine[:3, :3]))
    true, made = (_contrast(image, healthy) for image in (real, translated))

    components, sizes = _components(lesion, least)
    found = np.flatnonzero(sizes)
    own_true, own_made = (
        np.asarray(ndimage.mean(contrast, components, found)) for contrast in (true, made)
    )
    visible = np.abs(own_true) > true[healthy].std()
    inside = np.isin(components, found[visible])
    nothing = not inside.any()
    contrast_real = np.nan if nothing else float(true[inside].mean())
    contrast_made = np.nan if nothing else float(made[inside].mean())
    kept = own_made[visible] / own_true[visible]

    core = ndimage.distance_transform_edt(healthy | lesion, sampling=real.spacing) > margin
    core &= ndimage.distance_transform_edt(~lesion, sampling=real.spacing) > margin
    # Towards the lesions' side: darker than white matter in T1, brighter in T2.
    towards = np.sign(contrast_real)
    limit = share * abs(contrast_real)
    others, other_sizes = _components(core & (made * towards > limit), least)
    suspects = np.flatnonzero(other_sizes)
    in_real = np.asarray(ndimage.mean(true * towards, others, suspects))
    return LesionScores(
        lesions=found.size,
        visible=int(visible.sum()),
        contrast_real=contrast_real,
        contrast_translated=contrast_made,
        kept=contrast_made / contrast_real,
        erased=int((kept < share).sum()),
        invented=int((in_real < limit / 2).sum()),
        share=share,
        least_ml=least_ml,
        units=real.units,
    )


def _contrast(image: Volume, healthy: np.ndarray) -> np.ndarray:
    """Intensity minus that of the healthy white matter around, float64."""
    from scipy.ndimage import gaussian_filter

    widths = [_REFERENCE / step for step in image.spacing]
    weight = gaussian_filter(healthy.astype(np.float64), widths, mode="constant")
    around = gaussian_filter(np.where(healthy, image.array, 0.0), widths, mode="constant")
    far = weight < np.finfo(np.float32).eps  # from any white matter: the mean of all of it
    local = around / np.where(far, 1, weight)
    return image.array - np.where(far, image.array[healthy].mean(dtype=np.float64), local)


def _components(mask: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Connected components, and for each label its voxels, or 0 if these are fewer than least."""
    from scipy import ndimage

    components, _ = ndimage.label(mask, _CONNECTED)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components, np.where(sizes < least, 0, sizes)
