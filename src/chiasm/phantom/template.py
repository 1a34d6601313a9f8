"""Maps of an average brain, made from the ICBM 2009 templates that nilearn packages.

The templates are averages (Fonov et al., NeuroImage 2011, 54:313). They show the position of
nuclei, ventricles and large sulci, and are blurred where subjects differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from chiasm.phantom.fields import stretch

# Ellipsoids in MNI mm: centre, radii. In the first two (nuclei, brainstem) the template is sharp
# and tissues blend into each other. In the third, folds are too fine to be drawn at 1 mm.
_NUCLEI = ((0, -6, 4), (34, 36, 22))
_BRAINSTEM = ((0, -28, -35), (17, 16, 28))
_CEREBELLUM = ((0, -62, -38), (56, 34, 26))
# A box around the lateral ventricles, and points inside them.
_VENTRICLE_BOX = ((-42, 42), (-75, 40), (-6, 40))
_VENTRICLE_SEEDS = ((10, 5, 20), (-10, 5, 20), (12, -25, 22), (-12, -25, 22))
# White-matter lesions lie in the cerebrum, above this height in mm.
_LOWEST_LESION = -10


@dataclass(frozen=True)
class Frame:
    """The field of view of the template. Lattices of different steps span it.

    Attributes
    ----------
    origin, extent : array, shape (3,)
        The first point, and the distance from it to the last point, in mm.
    """

    origin: np.ndarray
    extent: np.ndarray

    def shape(self, step: float) -> tuple[int, int, int]:
        """Shape of the lattice with a step in mm that divides the extent."""
        return tuple(int(n) for n in self.extent // step + 1)  # type: ignore[return-value]

    def axes(self, step: float) -> tuple[np.ndarray, ...]:
        """Positions along the axes of this lattice in mm, shaped to broadcast against it."""
        lines = (
            o + step * np.arange(n) for o, n in zip(self.origin, self.shape(step), strict=True)
        )
        return np.ix_(*(line.astype(np.float32) for line in lines))

    def points(self, step: float) -> np.ndarray:
        """All points of this lattice in mm: (3, I, J, K)."""
        return np.stack(np.broadcast_arrays(*self.axes(step)))


@dataclass(frozen=True)
class Template:
    """The maps of the average brain on the 1 mm lattice of the frame, (I, J, K).

    Attributes
    ----------
    frame : Frame
    maps : float32 array, shape (6, I, J, K)
        Log-odds of white matter and of CSF; depth below the outer CSF and distance outside the
        hull of the brain (signed, mm); weights of the deep structures and of the folded cortex
        (0 to 1).
    ventricles : float32 array, shape (I, J, K)
        The lateral ventricles, smoothed by 5 mm.
    lesion_sites : array, shape (N, 3)
        Points in white matter, in mm from the frame's origin.
    lesion_odds : array, shape (N,)
        Probability of a lesion at each point; they sum to 1.
    """

    frame: Frame
    maps: np.ndarray
    ventricles: np.ndarray
    lesion_sites: np.ndarray
    lesion_odds: np.ndarray


def _log_odds(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, 0.01, 0.99))


def _ellipsoid(frame: Frame, ellipsoid: tuple) -> np.ndarray:
    """1 inside and 0 outside, with a transition of about 4 mm at the edge."""
    squares = (((x - c) / r) ** 2 for x, c, r in zip(frame.axes(1), *ellipsoid, strict=True))
    outside = (np.sqrt(sum(squares, np.float32(0))) - 1) * min(ellipsoid[1])
    return expit(-outside / 2)


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Smoothed distance to the boundary in lattice steps, positive inside."""
    boundary = inside & ~ndimage.binary_erosion(inside, border_value=1)
    distance = ndimage.distance_transform_edt(~boundary).astype(np.float32)
    distance = np.where(inside, distance + 0.5, 0.5 - distance)
    return ndimage.gaussian_filter(distance, 0.7)


def _ventricles(csf: np.ndarray, frame: Frame) -> np.ndarray:
    """The lateral ventricles: the CSF in their box that is connected to a seed point."""
    inside = csf > 0.5
    for axis, (low, high) in zip(frame.axes(1), _VENTRICLE_BOX, strict=True):
        inside &= (axis > low) & (axis < high)
    pieces, _ = ndimage.label(inside)
    seeds = np.asarray(_VENTRICLE_SEEDS) - frame.origin.astype(int)
    return np.isin(pieces, [piece for piece in pieces[tuple(seeds.T)] if piece])


@lru_cache(maxsize=1)
def template() -> Template:
    """Read the packaged templates, without network access, and compute the maps once."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=1)
    inside = np.asarray(image.dataobj) > 0
    grey, white = (
        np.asarray(load(resolution=1).dataobj, dtype=np.float32)
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    frame = Frame(image.affine[:3, 3], np.array(inside.shape) - 1.0)
    csf = np.clip(1 - grey - white, 0, 1) * inside

    ventricles = _ventricles(csf, frame).astype(np.float32)
    ventricles = ndimage.gaussian_filter(ventricles, 5)
    beside = np.minimum(10 * ventricles, 1)
    # The thin grey rim of the ventricles is a partial volume of CSF and white matter, not tissue.
    rim = (grey - ndimage.grey_opening(grey, size=4)) * beside
    white, csf = white + rim * (white > csf), csf + rim * (white <= csf) * inside

    nuclei = np.maximum(_ellipsoid(frame, _NUCLEI), _ellipsoid(frame, _BRAINSTEM))
    deep = np.maximum(nuclei, beside)
    cortex = (1 - deep) * (1 - 0.75 * _ellipsoid(frame, _CEREBELLUM))
    outer = ~inside | ((csf > 0.4) & (deep < 0.5))
    # The hull is smooth, so every second voxel is enough to find it.
    hull = -2 * _signed_distance(inside[::2, ::2, ::2])
    outside = stretch(hull, [np.arange(n) / 2 for n in inside.shape])
    maps = np.stack(
        [_log_odds(white), _log_odds(csf), _signed_distance(~outer), outside, deep, cortex]
    )

    site = (white > 0.8) & (frame.axes(1)[2] > _LOWEST_LESION)
    odds = ventricles[site].astype(np.float64) + 0.01
    return Template(
        frame, maps.astype(np.float32), ventricles, np.argwhere(site), odds / odds.sum()
    )
