"""Images and label maps: a voxel array, its position in space, and the meaning of its values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import nibabel as nib
import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.image.modality import units_of


def _checked_affine(affine: Any) -> np.ndarray:
    affine = np.array(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise CaseError(explain("affine", affine.tolist(), "is not usable", "4×4 finite numbers"))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise CaseError(explain("affine", affine.tolist(), "is singular", "an invertible matrix"))
    affine.setflags(write=False)
    return affine


def _own(given: Any, dtype: Any) -> np.ndarray:
    """The array in this type, read-only, and never changed through another reference.

    The array is copied, unless the change of type has already copied it, or it is the read-only
    array of another volume.
    """
    if not isinstance(given, np.ndarray):
        array = np.array(given, dtype=dtype)  # a list, or another library's memory
    else:
        given = given.view(np.ndarray)  # the voxels of a memory-mapped file
        array = given.astype(dtype, copy=False)
        if np.may_share_memory(array, given):
            array = array if _is_frozen(given) else array.copy(order="K")
    array.setflags(write=False)
    return array


def _is_frozen(array: Any) -> bool:
    """Whether an array, and every array that it is a view of, is read-only."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None


class _Lattice:
    """The common part of images and label maps: shape, spacing and orientation."""

    array: np.ndarray
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along the three array axes."""
        return self.array.shape  # type: ignore[return-value]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each array axis, in mm."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def orientation(self) -> str:
        """Direction of each array axis, e.g. ``"RAS"``."""
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
    """A scalar image: array, affine and units.

    Parameters
    ----------
    array : array, shape (I, J, K)
        Finite intensities, kept in a read-only float32 array of the volume.
    affine : array, shape (4, 4)
        Voxel index → scanner millimetres, RAS+ (the NIfTI and nibabel convention).
    units : str
        Units of the intensities: ``"HU"``, or ``"a.u."`` (arbitrary units) as in most MR.
    modality : str or None
        BIDS suffix (`chiasm.image.modality.SUFFIXES`); None if unknown.

    Raises
    ------
    CaseError
        The array is not 3D, is complex or not finite, or the affine is not 4×4, not finite or
        singular.
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
        array = _own(self.array, np.float32)
        if not np.isfinite(array).all():
            raise CaseError(explain("volume", "array", "holds NaN or Inf", "finite numbers"))
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        object.__setattr__(self, "units", self.units or units_of(self.modality))

    def with_array(self, array: np.ndarray, **changes: Any) -> Volume:
        """The volume with another array, and with other units or modality if given."""
        return replace(self, array=array, **changes)


@dataclass(frozen=True)
class Label:
    """One structure of a label map: its value, name, and colour as ``"#rrggbb"``."""

    value: int
    name: str
    colour: str


# The tissue labels of the simulated subjects, the shipped segmenter and the scores.
TISSUES = (
    Label(0, "background", "#000000"),
    Label(1, "csf", "#4477aa"),
    Label(2, "grey", "#ee6677"),
    Label(3, "white", "#f7f1d5"),
    Label(4, "lesion", "#ccbb44"),
)


@dataclass(frozen=True, repr=False, eq=False)
class LabelVolume(_Lattice):
    """A label map: an array of integers that stand for structures.

    Label maps are only resampled by nearest neighbour.

    Parameters
    ----------
    array : integer array, shape (I, J, K)
        Label values, kept in a read-only int16 array of the volume. Floats are accepted if they are
        whole numbers.
    affine : array, shape (4, 4)
        As in `Volume`.
    labels : tuple of Label
        The structures.

    Raises
    ------
    CaseError
        The array is not 3D or holds values that are not 16-bit whole numbers, or the affine is
        not legal (see `Volume`).
    """

    array: np.ndarray
    affine: np.ndarray
    labels: tuple[Label, ...] = field(default=TISSUES)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3 or array.dtype.kind not in "biuf":
            what = f"has shape {array.shape} and type {array.dtype}"
            raise CaseError(explain("labels", "array", what, "three axes of whole numbers"))
        if array.dtype.kind == "f" and (array != np.round(array)).any():  # NaN too
            what = "holds fractions or NaN"
            raise CaseError(explain("labels", "array", what, "whole numbers"))
        limits = np.iinfo(np.int16)
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            what = f"holds values from {array.min():g} to {array.max():g}"
            legal = f"whole numbers from {limits.min} to {limits.max}"
            raise CaseError(explain("labels", "array", what, legal))
        object.__setattr__(self, "array", _own(self.array, np.int16))
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        object.__setattr__(self, "labels", tuple(self.labels))
