"""White-matter lesions in a translation: contrast kept, missed and false-positive lesions."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.errors import CaseError, explain
from chiasm.image.volume import Volume
from chiasm.scoring.common_grid import Score, check_same_grid, checked_mask

_CONNECTED = np.ones((3, 3, 3), dtype=bool)  # voxels that touch at a corner are one lesion too
_REFERENCE = 8.0  # mm; standard deviation of the weights that average the surrounding white matter


class LesionScores(BaseModel):
    """What a translation did to the lesions. NaN is null in JSON.

    Attributes
    ----------
    lesions : int
        Number of connected components of the true lesion mask with a volume of at least
        ``least_ml``.
    visible : int
        Number of these lesions whose contrast in the real image exceeds the standard deviation
        of white matter there. Only visible lesions are counted as kept or missed.
    contrast_real, contrast_translated : float
        Contrast of the visible lesions: intensity minus that of the surrounding white matter,
        averaged over their voxels, in ``units``.
    kept : float
        ``contrast_translated / contrast_real``. 1 means that all contrast is kept, 0 that none
        is, and a negative value that the sign is wrong.
    missed : int
        Number of visible lesions that keep less than ``share`` of their own contrast.
    false_positive : int
        Number of white-matter components of at least ``least_ml`` that look like a lesion in the
        translation alone. Their contrast exceeds ``share`` of ``contrast_real`` in the
        translation. In the real image their mean contrast is below half of this limit.
    share, least_ml : float
        The arguments of `lesion_scores`.
    units : str
        Units of the contrasts.
    """

    model_config = ConfigDict(frozen=True)

    lesions: int
    visible: int
    contrast_real: Score
    contrast_translated: Score
    kept: Score
    missed: int
    false_positive: int
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
    """Compare the lesions of a translated image with those of the real image.

    The contrast of a voxel is its intensity minus the Gaussian-weighted mean (standard deviation
    8 mm) of the healthy white matter around it. A bias field is therefore not counted as contrast.

    Parameters
    ----------
    translated, real : Volume, shape (I, J, K)
        On one grid, in the same units.
    lesion, white : bool array, shape (I, J, K)
        The true lesions, and the white matter. The white matter may include the lesions or not.
    share : float
        Share of the contrast that a lesion has to keep, in (0, 1].
    least_ml : float
        Smallest volume of a component that is counted, in mL. The default is a ball 3 mm across,
        the smallest size that counts as a lesion in multiple sclerosis.
    margin : float
        Distance in mm. False-positive lesions are sought in white matter that is farther than
        this from other tissue and from true lesions, because intensities mix at their borders.

    Raises
    ------
    CaseError
        The grids or shapes differ, there is no lesion, or there is no healthy white matter.
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
    # Lesions are darker than white matter in T1 and brighter in T2.
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
        missed=int((kept < share).sum()),
        false_positive=int((in_real < limit / 2).sum()),
        share=share,
        least_ml=least_ml,
        units=real.units,
    )


def _contrast(image: Volume, healthy: np.ndarray) -> np.ndarray:
    """Intensity minus that of the surrounding healthy white matter, float64."""
    from scipy.ndimage import gaussian_filter

    widths = [_REFERENCE / step for step in image.spacing]
    weight = gaussian_filter(healthy.astype(np.float64), widths, mode="constant")
    around = gaussian_filter(np.where(healthy, image.array, 0.0), widths, mode="constant")
    # Voxels far from any white matter are compared with the mean of all of it.
    far = weight < np.finfo(np.float32).eps
    local = around / np.where(far, 1, weight)
    return image.array - np.where(far, image.array[healthy].mean(dtype=np.float64), local)


def _components(mask: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Connected components, and the size of each in voxels (0 if it is below ``least``)."""
    from scipy import ndimage

    components, _ = ndimage.label(mask, _CONNECTED)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components, np.where(sizes < least, 0, sizes)
