"""The step from the lattice of a scan to the lattice of a network, and its inverse.

Reorientation permutes and flips the axes of the array. Resampling, cropping and padding scale and
shift each axis. Each axis of the network's lattice therefore follows one axis of the scan, with a
scale and an offset. A `Grid` records all of this. Oblique and sheared scans keep their voxel axes;
nothing is rotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import nibabel as nib
import numpy as np
from nibabel import orientations
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

from chiasm.errors import CaseError, explain
from chiasm.image.axes import ROUND, Along, bring, bring_back, centred, ratio_of

_Row = tuple[float, float, float, float]
FEWEST_IN_PLANE = 16  # voxels in plane; fewer show no anatomy that could be translated


class Lattice(BaseModel):
    """The positions of the voxels of an array.

    Parameters
    ----------
    shape : three ints
        Number of voxels along each axis.
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
    """The step from the lattice of a scan to that of a network, and back.

    The positions of the voxels are inverted exactly. Their values are not: resampling to larger
    voxels loses detail. The axes of the two lattices are parallel, in any order and with any
    spacing and offset. The grid can be saved as JSON and restored without loss.

    Parameters
    ----------
    source : Lattice
        The lattice of the scan.
    network : Lattice
        The lattice of the network's input: the in-plane axes come first, the slice axis last.

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
        """Plan the grid that brings a scan to the lattice of a network.

        The axes are permuted and flipped to the closest ones of ``orientation``. The image is
        resampled about the centre of the field of view and then padded on both sides. Before the
        padding, the lattice of the network ends at the edges of the field of view if its spacing
        divides the field of view. Otherwise it extends beyond each edge by less than half of a
        network voxel.

        Parameters
        ----------
        shape : three ints
            Shape of the scan.
        affine : array, shape (4, 4)
            Affine of the scan.
        spacing : three floats or None
            Spacing of the network in mm: in plane, in plane, through plane. None keeps the spacing
            of the scan.
        orientation : str
            Direction of each axis of the network, e.g. ``"RAS"``.
        divisible_by : int
            The network's size is a multiple of this number in plane, and in 3D along all axes.
        least : int
            Smallest number of voxels that the network accepts in plane; smaller scans are padded.
        slice_axis : int or None
            The axis of ``orientation`` along which the slices are stacked; it becomes the last.
            None for a 3D network. If just one axis has length 1, that axis is always the last.
        crop : three pairs of ints, optional
            The box of the scan that is used, for example around the foreground: along each axis the
            first voxel, and one past the last. If the box is padded, the padding shows the scan's
            voxels around the box.
        size : three ints or None
            Exact size of the network's lattice, used instead of a multiple of ``divisible_by``. A
            larger scan is cropped about its centre.
        name : str
            Name of the scan in an error message.

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
            step = ratio_of(spacing[k], lengths[axis]) * turn[axis, 1]
            index_map[axis, k] = step
            index_map[axis, 3], extent = centred(
                first,
                last,
                step,
                multiple=divisible_by if slice_axis is None or k < 2 else 1,
                least=least if k < 2 else 1,
                size=size[k],
            )
            extents.append(extent)
        return cls(
            source=Lattice.of(shape, affine), network=Lattice.of(extents, affine @ index_map)
        )

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Number of voxels along the network's axes: in plane, in plane, through plane."""
        return self.network.shape

    @property
    def network_affine(self) -> np.ndarray:
        """Network voxel index → millimetres, shape (4, 4)."""
        return self.network.affine

    @property
    def network_spacing(self) -> tuple[float, float, float]:
        """Distance between the network's voxel centres along its axes, in mm."""
        return self.network.spacing

    @property
    def keeps_voxels(self) -> bool:
        """Whether every voxel of the network's lattice is one of the source's, or outside of it."""
        _, steps, starts = self._along()
        return bool((np.abs(steps) == 1).all() and (starts == np.round(starts)).all())

    def _index_map(self) -> np.ndarray:
        """Network voxel index → source voxel index, shape (4, 4)."""
        return np.round(np.linalg.solve(self.source.affine, self.network.affine), ROUND)

    def _along(self) -> Along:
        """The axes of the network's lattice along those of the source."""
        index_map = self._index_map()
        axes = np.abs(index_map[:3, :3]).argmax(axis=0)
        return Along(axes, index_map[axes, np.arange(3)], index_map[axes, 3])

    def apply(self, array: np.ndarray, fill: float = 0.0, labels: bool = False) -> np.ndarray:
        """Bring an array from the source lattice to the network's.

        Values are interpolated by cubic convolution (Keys, IEEE TASSP 29:1153, 1981) and clipped
        to the range of the array, so that they do not overshoot. If the network's spacing is
        larger than the scan's, a Gaussian low-pass filter is applied first, so that each voxel
        averages over its own width (Cardoso et al., "Scale factor point spread function
        matching", MICCAI 2015). If no resampling is needed, values are kept exactly.

        Parameters
        ----------
        array : array, shape (..., I, J, K)
            On the source lattice, channels first.
        fill : float
            Value of voxels outside the field of view of the scan.
        labels : bool
            Whether the values are labels, which are resampled by nearest neighbour.

        Returns
        -------
        array, shape (..., X, Y, Z)
            float32, or the type of the labels.

        Raises
        ------
        ValueError
            The array does not lie on the source lattice.
        """
        array = _on(self.source, array, labels)
        return bring(array, self._along(), self.network.shape, fill, labels)

    def invert(self, array: np.ndarray, fill: float = 0.0, labels: bool = False) -> np.ndarray:
        """Bring an array from the network's lattice back to the source's.

        Parameters
        ----------
        array : array, shape (..., X, Y, Z)
            On the network's lattice, channels first.
        fill : float
            Value of the voxels of the scan that lie outside the network's lattice, because they
            were cropped away. It should be the background of the array's modality.
        labels : bool
            Whether the values are labels, which are resampled by nearest neighbour.

        Returns
        -------
        array, shape (..., I, J, K)
            float32, or the type of the labels; exactly the source's shape.

        Raises
        ------
        ValueError
            The array does not lie on the network's lattice.
        """
        array = _on(self.network, array, labels)
        return bring_back(array, self._along(), self.source.shape, fill, labels)


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
        if shape[axis] < FEWEST_IN_PLANE:
            way = orientation[int(turn[axis, 0])]
            problem = f"has {shape[axis]} voxels along its in-plane axis {axis} (towards {way})"
            legal = (
                f"at least {FEWEST_IN_PLANE} voxels along both in-plane axes, or slices of another "
                "plane (--planes)"
            )
            raise CaseError(explain(name, "×".join(map(str, shape)), problem, legal))


def _on(lattice: Lattice, array: np.ndarray, labels: bool) -> np.ndarray:
    array = np.asarray(array) if labels else np.asarray(array, dtype=np.float32)
    if array.shape[-3:] != lattice.shape:
        raise ValueError(f"an array of shape {array.shape} is not on a lattice of {lattice.shape}")
    return array
