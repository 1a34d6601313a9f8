"""The geometry and intensity steps from a volume to the input of a network, and back.

Training, translation and segmentation all prepare a scan here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, PositiveFloat
from scipy.ndimage import distance_transform_edt

from chiasm.errors import CaseError, explain
from chiasm.image.context import PLANES, Context, Plane
from chiasm.image.foreground import foreground_mask
from chiasm.image.foreground_search import enclosed
from chiasm.image.grid import Grid, Lattice
from chiasm.image.grid_memory import preparation_bytes
from chiasm.image.intensity import IntensityMap, policy_for
from chiasm.image.volume import Label, LabelVolume, Volume
from chiasm.machine.free_memory import check_fits


def _orientation(ways: str) -> str:
    if sorted("RLAPSI".find(way) // 2 for way in ways) != [0, 1, 2]:
        raise ValueError("an orientation is R or L, A or P, and S or I, in any order")
    return ways


Orientation = Annotated[str, AfterValidator(_orientation)]
"""The direction of each of three axes, such as ``"RAS"``."""


class GridSettings(BaseModel):
    """The lattice that a model works on.

    Parameters
    ----------
    spacing : three floats or None
        In mm: in-plane, in-plane, through-plane. None keeps the spacing of the scan.
    orientation : str
        Anatomical direction of each axis of the oriented scan, such as ``"RAS"``. The slice axis
        is moved to the last place afterwards.
    slice_axis : int
        The axis of ``orientation`` along which the slices are stacked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: tuple[PositiveFloat | None, PositiveFloat | None, PositiveFloat | None]
    orientation: Orientation = "RAS"
    slice_axis: Literal[0, 1, 2] = 2

    def across(self, plane: Plane) -> GridSettings:
        """The settings for slices of another plane, with the same in-plane spacing."""
        axis = next(k for k, way in enumerate(self.orientation) if way in PLANES[plane])
        return self.model_copy(update={"slice_axis": axis})


@dataclass(frozen=True)
class Prepared:
    """A volume on the lattice of a model, with intensities in [0, 1].

    Attributes
    ----------
    volume : Volume
        The original volume.
    mask : bool array, shape of the volume
        The foreground, as given or found.
    intensity : IntensityMap
        The intensity map of this volume.
    grid : Grid
        The step from the volume's lattice to the network's.
    context : Context
    """

    volume: Volume
    mask: np.ndarray
    intensity: IntensityMap
    grid: Grid
    context: Context

    @cached_property
    def foreground(self) -> np.ndarray:
        """The foreground on the network's lattice: bool, shape (X, Y, Z)."""
        return self.grid.apply(self.mask.astype(np.uint8), fill=0, labels=True).astype(bool)

    @cached_property
    def image(self) -> np.ndarray:
        """The scan on the network's lattice: float32, (X, Y, Z), 0 outside the foreground."""
        unit = np.clip(self.intensity.forward(self.volume.array), 0, 1) * self.mask
        image = np.clip(self.grid.apply(unit.astype(np.float32), fill=0.0), 0, 1)
        return (image * self.foreground).astype(np.float32)

    @cached_property
    def _nearest(self) -> np.ndarray:
        """The flat index of the nearest foreground voxel of each voxel of the lattice."""
        nearest = distance_transform_edt(
            ~self.foreground,
            self.grid.network_spacing,
            return_distances=False,
            return_indices=True,
        )
        shape = self.foreground.shape
        large = self.foreground.size > np.iinfo(nearest.dtype).max
        flat = nearest[0].astype(np.int64) if large else nearest[0]
        for axis in (1, 2):  # in place, because the lattice can be large
            flat *= shape[axis]
            flat += nearest[axis]
        return np.array(flat.ravel())

    def samples(self) -> np.ndarray:
        """The inputs of the network: (N, images, \\*spatial), see `Context.samples`."""
        return np.ascontiguousarray(self.context.samples(self.image))

    def slice_indices(self) -> list[int]:
        """Indices of the network inputs that contain foreground. The network runs on these."""
        if self.context.kind == "3d":
            return [0]
        return [int(k) for k in np.flatnonzero(self.foreground.any(axis=(0, 1)))]

    def restore(self, samples: np.ndarray, target: IntensityMap, modality: str) -> Volume:
        """Network outputs in [0, 1] → a volume on the input's grid, in the units of the target.

        ``samples`` has the shape (N, 1, \\*spatial). Intensities are mapped back first, then the
        grid is inverted. Voxels outside the foreground or the network's lattice get the target's
        background.
        """
        values = target.inverse(np.clip(self.context.volume(samples), 0, 1))
        if self.foreground.any() and not self.grid.keeps_voxels:
            # The border of the foreground is extended outwards, because interpolation would
            # otherwise mix it with background.
            values = values.ravel()[self._nearest].reshape(values.shape)
        array = self.grid.invert(values.astype(np.float32), fill=target.background)
        array = np.where(self.mask, array, target.background)
        return self.volume.with_array(array, modality=modality, units=target.units)

    def record(self) -> dict[str, Any]:
        """The grid and the intensity map in JSON form, sufficient to repeat or invert them."""
        return {
            "grid": self.grid.model_dump(mode="json"),
            "intensity": self.intensity.model_dump(mode="json"),
        }


def restore_labels(
    views: Sequence[tuple[Prepared, np.ndarray]],
    labels: tuple[Label, ...],
    *,
    fill_holes: bool = False,
) -> LabelVolume:
    """Label probabilities (N, C, \\*spatial) → the most probable label on the input's grid.

    Probabilities are interpolated before they are compared, so that borders stay smooth if the
    network's lattice is coarser than the input's. Voxels outside the foreground get the first
    label.

    Parameters
    ----------
    views : sequence of (Prepared, array)
        The same volume on one or several lattices, such as slices of several planes, and the
        probabilities there. Those of several lattices are averaged.
    labels : tuple of Label
        In the order of the channels; the first is the background.
    fill_holes : bool
        Whether holes are filled. A hole is a region that is labelled as background, lies inside
        the foreground, and is enclosed by other labels. Each of its voxels gets the most
        probable label other than the background.
    """
    first, _ = views[0]
    best = np.full(first.volume.shape, -np.inf, dtype=np.float32)
    array = np.full(first.volume.shape, labels[0].value, dtype=np.int16)
    inner, structure = best.copy(), array.copy()  # the same without the background
    for channel, structure_label in enumerate(labels):
        score: np.ndarray = np.zeros(first.volume.shape, dtype=np.float32)
        for view, samples in views:
            one = view.context.volume(samples[:, channel : channel + 1]).astype(np.float32)
            score = score + view.grid.invert(one, fill=float(channel == 0))
        array[score > best] = structure_label.value
        best = np.maximum(best, score)
        if channel and fill_holes:
            structure[score > inner] = structure_label.value
            inner = np.maximum(inner, score)
    array[~first.mask] = labels[0].value
    if fill_holes:
        holes = enclosed((array == labels[0].value) & first.mask, first.mask)
        array[holes] = structure[holes]
    return LabelVolume(array, first.volume.affine, labels)


def foreground_box(mask: np.ndarray) -> list[tuple[int, int]]:
    """The first foreground voxel and one past the last along each axis; all if there is none."""
    box = []
    for axis, length in enumerate(mask.shape):
        others = tuple(k for k in range(mask.ndim) if k != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append((int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, length))
    return box


def prepare(
    volume: Volume,
    settings: GridSettings,
    context: Context,
    *,
    divisible_by: int = 1,
    mask: np.ndarray | None = None,
) -> Prepared:
    """Bring the foreground of a volume to the lattice of a model, with intensities in [0, 1].

    Parameters
    ----------
    volume : Volume
    settings, context : GridSettings, Context
        The grid and the context of the model.
    divisible_by : int
        The network's spatial sizes must be multiples of this number; the lattice is padded to it.
    mask : bool array, shape of the volume, optional
        The foreground; by default `chiasm.image.foreground.foreground_mask` finds it.

    Raises
    ------
    CaseError
        The scan has too few voxels in plane, the mask is empty or of another shape, the image is
        constant, or the lattice does not fit the free memory.
    """
    if mask is None:
        mask = foreground_mask(volume)
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != volume.shape:
        problem = f"has shape {mask.shape}"
        raise CaseError(explain("--mask", "", problem, f"the image's shape {volume.shape}"))
    grid = Grid.plan(
        volume.shape,
        volume.affine,
        spacing=settings.spacing,
        orientation=settings.orientation,
        divisible_by=divisible_by,
        # Normalisation in the coarsest level of a U-Net needs more than one voxel.
        least=2 * divisible_by if divisible_by > 1 else 1,
        slice_axis=None if context.kind == "3d" else settings.slice_axis,
        crop=foreground_box(mask),
    )
    _check_memory(volume, grid, context)
    intensity = policy_for(volume.modality).fit(volume, mask)
    return Prepared(volume, mask, intensity, grid, context)


def _check_memory(volume: Volume, grid: Grid, context: Context) -> None:
    """Refuse a network lattice that does not fit the memory, before it is allocated."""
    size = "×".join(map(str, grid.network_shape))
    check_fits(
        preparation_bytes(grid, context.images),
        "image",
        repr(volume),
        f"for the model's grid of {size} voxels",
        "a smaller scan, larger voxels (are the units of the scan correct?), or more memory",
    )


def prepare_onto(volume: Volume, other: Prepared, *, mask: np.ndarray | None = None) -> Prepared:
    """Bring a second scan of the same subject to the network lattice of the first.

    Parameters
    ----------
    volume : Volume
        The second scan, on the grid of the first or on one whose axes are parallel to it.
    other : Prepared
        The first scan.
    mask : bool array, shape of the volume, optional
        The foreground; by default `chiasm.image.foreground.foreground_mask` finds it.

    Returns
    -------
    Prepared
        It has the foreground and the intensity map of the second scan.

    Raises
    ------
    CaseError
        The axes of the two scans are not parallel, or one of the errors of `prepare` occurred.
    """
    mask = foreground_mask(volume) if mask is None else np.asarray(mask, dtype=bool)
    grid = other.grid
    if not volume.same_grid(other.volume):
        # Affines are rounded in files, so axes that are parallel up to rounding are accepted.
        steps = np.round(np.linalg.solve(volume.affine, grid.network_affine), 5)
        affine = grid.network_affine @ np.linalg.inv(steps)
        try:
            grid = Grid(source=Lattice.of(volume.shape, affine), network=grid.network)
        except ValueError:
            problem = f"is rotated relative to {other.volume!r}"
            legal = "two scans with parallel axes, or one resampled onto the other"
            raise CaseError(explain("image", repr(volume), problem, legal)) from None
        _check_memory(volume, grid, other.context)
    intensity = policy_for(volume.modality).fit(volume, mask)
    return Prepared(volume, mask, intensity, grid, other.context)
