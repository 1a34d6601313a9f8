"""Images and label maps: an array, where it lies, and what its numbers mean."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import nibabel as nib
import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.modality import units_of


def _checked_affine(affine: Any) -> np.ndarray:
    affine = np.array(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise CaseError(explain("affine", affine.tolist(), "is not usable", "4×4 finite numbers"))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise CaseError(explain("affine", affine.tolist(), "is singular", "an invertible matrix"))
    affine.setflags(write=False)
    return affine


class _Lattice:
    """What images and label maps share: shape, spacing and orientation."""

    array: np.ndarray
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three array axes."""
        return self.array.shape  # type: ignore[return-value]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each array axis, in mm."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def orientation(self) -> str:
        """Where each array axis points to, e.g. ``"RAS"``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    def same_grid(self, other: _Lattice, tolerance: float = 1e-3) -> bool:
        """Whether both have the same shape, and affines equal within ``tolerance`` mm."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=tolerance)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        step = "×".join(f"{s:.3g}" for s in self.spacing)
        kind = getattr(self, "modality", None) or type(self).__name__
        return f"<{type(self).__name__} {kind} {size}, {step} mm, {self.orientation}>"


@dataclass(frozen=True, repr=False, eq=False)
class Volume(_Lattice):
    """A scalar image: array + affine + units.

    Parameters
    ----------
    array : array, shape (I, J, K)
        Finite intensities; kept as float32.
    affine : array, shape (4, 4)
        Voxel index → scanner millimetres, RAS+ (the NIfTI and nibabel convention).
    units : str
        Of the intensities: ``"HU"``, or ``"a.u."`` where the scale is arbitrary, as in most MR.
    modality : str or None
        BIDS suffix (`chiasm.modality.SUFFIXES`), None where unknown.

    Raises
    ------
    CaseError
        Array not 3D, complex or not finite; affine not 4×4, not finite or singular.
    """

    array: np.ndarray
    affine: np.ndarray
    units: str = ""
    modality: str | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3 or np.iscomplexobj(array) or array.dtype.names is not None:
            what = f"has shape {array.shape} and type {array.dtype}"
            raise CaseError(explain("volume", "array", what, "three axes of real numbers"))
        array = np.asarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            raise CaseError(explain("volume", "array", "holds NaN or Inf", "finite numbers"))
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        object.__setattr__(self, "units", self.units or units_of(self.modality))

    def with_array(self, array: np.ndarray, **changes: Any) -> Volume:
        """The same lattice holding another array (and other units or modality, if given)."""
        return replace(self, array=array, **changes)


@dataclass(frozen=True)
class Label:
    """One structure of a label map: its value, its name, and its colour as ``"#rrggbb"``."""

    value: int
    name: str
    colour: str


# The tissue convention of the whole project: phantoms, the shipped segmenter, the scores.
TISSUES = (
    Label(0, "background", "#000000"),
    Label(1, "csf", "#4477aa"),
    Label(2, "grey", "#ee6677"),
    Label(3, "white", "#f7f1d5"),
    Label(4, "lesion", "#ccbb44"),
)


@dataclass(frozen=True, repr=False, eq=False)
class LabelVolume(_Lattice):
    """A label map: integers that name structures; resampled by nearest neighbour alone.

    Parameters
    ----------
    array : integer array, shape (I, J, K)
        Label values; kept as int16.
    affine : array, shape (4, 4)
        As in `Volume`.
    labels : tuple of Label
        The structures that values stand for.

    Raises
    ------
    CaseError
        Array not 3D, or holding values that are not whole numbers; affine as in `Volume`.
    """

    array: np.ndarray
    affine: np.ndarray
    labels: tuple[Label, ...] = field(default=TISSUES)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3 or not np.isrealobj(array) or (array != np.round(array)).any():
            what = f"has shape {array.shape} and type {array.dtype}"
            raise CaseError(explain("labels", "array", what, "three axes of whole numbers"))
        object.__setattr__(self, "array", array.astype(np.int16))
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        object.__setattr__(self, "labels", tuple(self.labels))
