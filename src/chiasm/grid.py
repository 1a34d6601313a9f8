"""From the lattice a scan came on to the lattice a network works on, and exactly back.

Orient, resample, crop or pad: all three move voxels along the array's own axes only, so together
they are one affine map per axis between the two lattices, and a `Grid` needs to record no more
than these. Oblique and sheared scans keep their voxel axes; nothing is rotated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import nibabel as nib
import numpy as np
from nibabel import orientations
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import gaussian_filter1d

from chiasm.errors import CaseError, explain

_Row = tuple[float, float, float, float]
_SAME_SPACING = 1e-3  # relative; closer spacings count as equal, and voxels are kept as they are
_FEWEST = 16  # voxels in plane; with fewer there is no anatomy to translate
_AXES = (-3, -2, -1)  # of a lattice; channels come before
_EDGE = 1e-4  # voxels; a centre this close to the edge of the field of view is inside
_ROUND = 7  # decimals of a voxel; what is left is the rounding of the affines


class Lattice(BaseModel):
    """Where the voxels of an array lie.

    Parameters
    ----------
    shape : three ints
        Voxels along each axis.
    rows : four rows of four floats
        The affine: voxel index → millimetres, RAS+.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    rows: tuple[_Row, _Row, _Row, _Row]

    @classmethod
    def of(cls, shape: Sequence[int], affine: np.ndarray) -> Self:
        """The lattice of an array of this shape and affine."""
        rows = np.asarray(affine, dtype=float).tolist()
        return cls(shape=tuple(int(n) for n in shape), rows=rows)  # type: ignore[arg-type]

    @property
    def affine(self) -> np.ndarray:
        """Voxel index → millimetres, shape (4, 4), float64."""
        return np.array(self.rows)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis, in mm."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())  # type: ignore[return-value]


class Grid(BaseModel):
    """An invertible step between a scan's lattice and a network's.

    Two lattices whose axes are parallel (in any order, with any spacing and offset). Written to
    JSON and read back, it does the same.

    Parameters
    ----------
    source : Lattice
        Of the scan.
    network : Lattice
        Of what the network sees: in-plane axes first, the slice axis last.

    Raises
    ------
    ValueError
        The axes of the two lattices are not parallel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Lattice
    network: Lattice

    @model_validator(mode="after")
    def _axes_are_parallel(self) -> Self:
        linear = np.abs(self._index_map()[:3, :3])
        if not (((linear > 0).sum(axis=0) == 1).all() and ((linear > 0).sum(axis=1) == 1).all()):
            raise ValueError("the axes of the source and network lattices are not parallel")
        return self

    @classmethod
    def plan(
        cls,
        shape: Sequence[int],
        affine: np.ndarray,
        *,
        spacing: Sequence[float | None] = (None, None, None),
        orientation: str = "RAS",
        divisible_by: int = 1,
        least: int = 1,
        slice_axis: int | None = 2,
        crop: Sequence[tuple[int, int]] | None = None,
        size: Sequence[int | None] = (None, None, None),
        name: str = "image",
    ) -> Self:
        """The grid that brings a scan to what a network needs.

        The axes are permuted and flipped to the closest ones of ``orientation``, resampled about
        the centre of the field of view (so where the spacing divides it, voxel edges are aligned;
        else it is covered with a margin of less than half a voxel), and padded on both sides.

        Parameters
        ----------
        shape : three ints
            Of the scan.
        affine : array, shape (4, 4)
            Of the scan.
        spacing : three floats or None
            Of the network in mm: in plane, in plane, through plane. None keeps the scan's own.
        orientation : str
            Where the axes of the network point to, e.g. ``"RAS"``.
        divisible_by : int
            The network's size is a multiple of this, in plane; in 3D along all axes.
        least : int
            Fewest voxels that the network takes in plane; fewer are padded to it.
        slice_axis : int or None
            Which axis of ``orientation`` the slices are stacked along; it becomes the last. None
            for a 3D network. An axis of length 1, if there is just one, is always last.
        crop : three pairs of ints, optional
            The voxels of the scan to work on, first and one past the last along each of its axes,
            such as a box around the head. Surroundings fill the padding, if there is any.
        size : three ints or None
            Exact size of the network's lattice instead of a multiple of ``divisible_by``; what
            is too large is cropped about the centre.
        name : str
            What the scan is called in an error.

        Returns
        -------
        Grid

        Raises
        ------
        CaseError
            The scan has fewer than 16 voxels along an in-plane axis.
        """
        shape = tuple(int(n) for n in shape)
        turn = orientations.ornt_transform(
            nib.io_orientation(affine), orientations.axcodes2ornt(tuple(orientation))
        )
        axes = _layout(shape, turn, slice_axis)
        _check_size(shape, axes, orientation, turn, name)
        box = crop or [(0, n) for n in shape]
        lengths = np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0)
        index_map, extents = np.zeros((4, 4)), []
        index_map[3, 3] = 1
        for k, axis in enumerate(axes):
            first, last = box[axis]
            ratio = _ratio(spacing[k], lengths[axis])
            extent = max(1, math.ceil((last - first) / ratio - _SAME_SPACING))
            multiple = divisible_by if slice_axis is None or k < 2 else 1
            fewest = least if k < 2 else 1
            padded = size[k] or math.ceil(max(extent, fewest) / multiple) * multiple
            before = (padded - extent) // 2
            step = ratio * turn[axis, 1]
            index_map[axis, k] = step
            index_map[axis, 3] = (first + last - 1) / 2 - step * (before + (extent - 1) / 2)
            extents.append(padded)
        return cls(
            source=Lattice.of(shape, affine), network=Lattice.of(extents, affine @ index_map)
        )

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Voxels along the network's axes: in plane, in plane, through plane."""
        return self.network.shape

    @property
    def network_affine(self) -> np.ndarray:
        """Network voxel index → millimetres, shape (4, 4)."""
        return self.network.affine

    @property
    def network_spacing(self) -> tuple[float, float, float]:
        """Distance between the network's voxel centres along its axes, in mm."""
        return self.network.spacing

    def _index_map(self) -> np.ndarray:
        """Network voxel index → source voxel index, shape (4, 4)."""
        return np.round(np.linalg.solve(self.source.affine, self.network.affine), _ROUND)

    def _steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per network axis: its source axis, source voxels per step, source index of its start."""
        index_map = self._index_map()
        axes = np.abs(index_map[:3, :3]).argmax(axis=0)
        return axes, index_map[axes, np.arange(3)], index_map[axes, 3]

    def apply(self, array: np.ndarray, fill: float = 0.0, labels: bool = False) -> np.ndarray:
        """Bring an array from the source lattice to the network's.

        Interpolation is by cubic convolution (Keys, IEEE TASSP 29:1153, 1981), clipped to the
        array's range so that it does not ring beyond it. Where the network's spacing is the
        larger one, a Gaussian low pass first gives its voxels the width they should have
        (Cardoso et al., "Scale factor point spread function matching", MICCAI 2015). Where no
        resampling is needed, values are kept exactly.

        Parameters
        ----------
        array : array, shape (..., I, J, K)
            On the source lattice, channels first.
        fill : float
            What lies outside the field of view of the scan.
        labels : bool
            Values are labels: nearest neighbour.

        Returns
        -------
        array, shape (..., X, Y, Z)
            float32, or of the type of the labels.

        Raises
        ------
        ValueError
            The array does not lie on the source lattice.
        """
        array = _on(self.source, array, labels)
        axes, steps, starts = self._steps()
        array = np.moveaxis(array, axes - 3, _AXES)
        positions = [
            start + step * np.arange(length)
            for start, step, length in zip(starts, steps, self.network.shape, strict=True)
        ]
        lengths = array.shape[-3:]
        array = _resample(array, positions, abs(steps), labels)
        return np.ascontiguousarray(_filled(array, positions, lengths, fill))

    def invert(self, array: np.ndarray, fill: float = 0.0, labels: bool = False) -> np.ndarray:
        """Bring an array from the network's lattice back to the source's.

        Parameters
        ----------
        array : array, shape (..., X, Y, Z)
            On the network's lattice, channels first.
        fill : float
            What voxels get that lie outside the network's lattice (they were cropped away): the
            background of the modality the array holds.
        labels : bool
            Values are labels: nearest neighbour.

        Returns
        -------
        array, shape (..., I, J, K)
            float32, or of the type of the labels; exactly the source's shape.

        Raises
        ------
        ValueError
            The array does not lie on the network's lattice.
        """
        array = _on(self.network, array, labels)
        axes, steps, starts = self._steps()
        positions, inner = [], []
        covered: tuple[Any, ...] = (...,)
        for axis, step, start, length in zip(axes, steps, starts, self.network.shape, strict=True):
            extent = self.source.shape[axis]
            points = np.round((np.arange(extent) - start) / step, _ROUND)
            # Padding is no part of the image: interpolation must not reach into it.
            used = np.flatnonzero(_is_within(start + step * np.arange(length), extent))
            positions.append(points)
            inner.append(points - used[0])
            covered += (slice(used[0], used[-1] + 1),)
        array = _resample(array[covered], inner, 1 / abs(steps), labels)
        array = _filled(array, positions, self.network.shape, fill)
        return np.ascontiguousarray(np.moveaxis(array, _AXES, axes - 3))


def _layout(
    shape: tuple[int, ...], turn: np.ndarray, slice_axis: int | None
) -> tuple[int, int, int]:
    """The scan's axes in the order of the network: in plane, in plane, through plane."""
    oriented = [int(np.flatnonzero(turn[:, 0] == k)[0]) for k in range(3)]
    single = [axis for axis in oriented if shape[axis] == 1]
    last = single[0] if len(single) == 1 else oriented[2 if slice_axis is None else slice_axis]
    first, second = (axis for axis in oriented if axis != last)
    return first, second, last


def _check_size(
    shape: tuple[int, ...], axes: Sequence[int], orientation: str, turn: np.ndarray, name: str
) -> None:
    for axis in axes[:2]:
        if shape[axis] < _FEWEST:
            way = orientation[int(turn[axis, 0])]
            problem = f"has {shape[axis]} voxels along its in-plane axis {axis} (towards {way})"
            legal = f"at least {_FEWEST} voxels along both in-plane axes"
            raise CaseError(explain(name, "×".join(map(str, shape)), problem, legal))


def _ratio(wanted: float | None, have: float) -> float:
    """Network spacing ÷ source spacing."""
    if wanted is None or abs(wanted / have - 1) < _SAME_SPACING:
        return 1.0
    return wanted / have


def _on(lattice: Lattice, array: np.ndarray, labels: bool) -> np.ndarray:
    array = np.asarray(array) if labels else np.asarray(array, dtype=np.float32)
    if array.shape[-3:] != lattice.shape:
        raise ValueError(f"an array of shape {array.shape} is not on a lattice of {lattice.shape}")
    return array


def _is_within(positions: np.ndarray, length: int) -> np.ndarray:
    """Which fractional indices lie in the field of view of an axis of so many voxels."""
    return np.abs(positions - (length - 1) / 2) <= length / 2 + _EDGE


def _filled(
    array: np.ndarray, positions: Sequence[np.ndarray], lengths: Sequence[int], fill: float
) -> np.ndarray:
    """``array`` with ``fill`` where its voxels' ``positions`` are out of the field of view."""
    for axis, points, length in zip(_AXES, positions, lengths, strict=True):
        np.moveaxis(array, axis, 0)[~_is_within(points, length)] = fill
    return array


def _resample(
    array: np.ndarray, positions: Sequence[np.ndarray], factors: np.ndarray, labels: bool
) -> np.ndarray:
    """Sample the last three axes of ``array`` at fractional indices, ``factors`` voxels apart."""
    low, high = (0, 0) if labels else (array.min(), array.max())
    for axis, points, factor in zip(_AXES, positions, factors, strict=True):
        length = array.shape[axis]
        inside = np.clip(points, 0, length - 1)
        on_voxels = factor <= 1 + _SAME_SPACING and (inside == np.round(inside)).all()
        if labels or on_voxels or length == 1:
            array = np.take(array, np.floor(inside + 0.5).astype(int), axis=axis)
        else:
            weights = _weights(inside, length, factor).astype(np.float32)
            array = np.moveaxis(np.tensordot(array, weights, (axis, 1)), -1, axis)
    return array if labels else np.clip(array, low, high)


def _weights(positions: np.ndarray, length: int, factor: float) -> np.ndarray:
    """Matrix, shape (len(positions), length), that samples a line ``factor`` voxels apart."""
    basis = np.eye(length)
    if factor > 1 + _SAME_SPACING:
        # A Gaussian's full width at half maximum is σ √(8 ln 2); variances add.
        sigma = math.sqrt((factor**2 - 1) / (8 * math.log(2)))
        basis = gaussian_filter1d(basis, sigma, axis=0, mode="nearest")
    return CubicHermiteSpline(np.arange(length), basis, np.gradient(basis, axis=0))(positions)
