"""A volume as a network sees it, and back: geometry and intensity, each recorded.

Training, translation and segmentation all see a scan through this one door.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, field_validator
from scipy.ndimage import distance_transform_edt

from chiasm.context import Context
from chiasm.errors import CaseError, explain
from chiasm.grid import Grid, Lattice
from chiasm.head import head_mask
from chiasm.intensity import IntensityMap, policy_for
from chiasm.volume import Label, LabelVolume, Volume

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: dict[Plane, str] = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}  # stacked along


class GridSettings(BaseModel):
    """The lattice a model wants.

    Parameters
    ----------
    spacing : three floats or None
        In mm: in-plane, in-plane, through-plane; None keeps the scan's own.
    orientation : str
        Where the axes point to, before the slice axis is moved last.
    slice_axis : int
        The axis of ``orientation`` that slices are stacked along.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: tuple[PositiveFloat | None, PositiveFloat | None, PositiveFloat | None]
    orientation: str = "RAS"
    slice_axis: Literal[0, 1, 2] = 2

    @field_validator("orientation")
    @classmethod
    def _is_one(cls, orientation: str) -> str:
        if sorted("RLAPSI".find(axis) // 2 for axis in orientation) != [0, 1, 2]:
            raise ValueError("an orientation is R or L, A or P, and S or I, in any order")
        return orientation

    def across(self, plane: Plane) -> GridSettings:
        """The same for slices of another plane: its in-plane spacing is then this one's."""
        axis = next(k for k, way in enumerate(self.orientation) if way in PLANES[plane])
        return self.model_copy(update={"slice_axis": axis})


@dataclass(frozen=True)
class Prepared:
    """A volume laid on a model's lattice, in [0, 1].

    Attributes
    ----------
    volume : Volume
        As it came.
    mask : bool array, shape of the volume
        The head: the given mask, or the one found.
    intensity : IntensityMap
        The volume's own.
    grid : Grid
        From the volume's lattice to the network's.
    context : Context
    """

    volume: Volume
    mask: np.ndarray
    intensity: IntensityMap
    grid: Grid
    context: Context

    @cached_property
    def head(self) -> np.ndarray:
        """The mask on the network's lattice: bool, shape (X, Y, Z)."""
        return self.grid.apply(self.mask.astype(np.uint8), fill=0, labels=True).astype(bool)

    @cached_property
    def image(self) -> np.ndarray:
        """The scan on the network's lattice: float32, shape (X, Y, Z), 0 outside the head."""
        unit = np.clip(self.intensity.forward(self.volume.array), 0, 1) * self.mask
        image = np.clip(self.grid.apply(unit.astype(np.float32), fill=0.0), 0, 1)
        return (image * self.head).astype(np.float32)

    def samples(self) -> np.ndarray:
        """What the network is given: (N, images, \\*spatial), see `Context.samples`."""
        return np.ascontiguousarray(self.context.samples(self.image))

    def places(self) -> list[int]:
        """Indices of the samples that show any of the head; the others need no network."""
        if self.context.kind == "3d":
            return [0]
        return [int(k) for k in np.flatnonzero(self.head.any(axis=(0, 1)))]

    def restore(self, samples: np.ndarray, target: IntensityMap, modality: str) -> Volume:
        """Samples (N, 1, \\*spatial) in [0, 1] → a volume on the input's grid, in target units.

        Intensities are mapped back first, then the grid is inverted; what lies outside the
        network's lattice or the head is the target's background.
        """
        values = target.inverse(np.clip(self.context.volume(samples), 0, 1))
        if self.head.any():
            # The head's border goes on outwards, else interpolation would mix it with background.
            nearest = distance_transform_edt(
                ~self.head, self.grid.network_spacing, return_distances=False, return_indices=True
            )
            values = values[tuple(nearest)]
        array = self.grid.invert(values.astype(np.float32), fill=target.background)
        array = np.where(self.mask, array, target.background)
        return self.volume.with_array(array, modality=modality, units=target.units)

    def restore_labels(self, samples: np.ndarray, labels: tuple[Label, ...]) -> LabelVolume:
        """Label probabilities (N, C, \\*spatial) → the most probable label on the input's grid.

        Probabilities are interpolated and then compared, so that borders stay smooth where the
        network's lattice is coarser than the input's. Outside the head, the first label.
        """
        best = np.full(self.volume.shape, -np.inf, dtype=np.float32)
        array = np.full(self.volume.shape, labels[0].value, dtype=np.int16)
        for channel, label in enumerate(labels):
            one = self.context.volume(samples[:, channel : channel + 1])
            score = self.grid.invert(one.astype(np.float32), fill=float(channel == 0))
            array[score > best] = label.value
            best = np.maximum(best, score)
        array[~self.mask] = labels[0].value
        return LabelVolume(array, self.volume.affine, labels)

    def record(self) -> dict[str, Any]:
        """Both steps as JSON-able numbers, enough to repeat or invert them."""
        return {
            "grid": self.grid.model_dump(mode="json"),
            "intensity": self.intensity.model_dump(mode="json"),
        }


def _box(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last voxel of the head along each axis; all of it if it is empty."""
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
    """Lay a volume's head on the lattice that ``settings`` asks for, intensities in [0, 1].

    Parameters
    ----------
    volume : Volume
    settings, context : GridSettings, Context
        Of the model.
    divisible_by : int
        What the network's spatial sizes must be multiples of; padded to it.
    mask : bool array, shape of the volume, optional
        The head; found by `chiasm.head.head_mask` if not given.

    Raises
    ------
    CaseError
        Too few voxels in plane, a mask that is empty or of another shape, a constant image.
    """
    if mask is None:
        mask = head_mask(volume)
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
        # A U-Net's coarsest level must hold more than one voxel for its norm.
        least=2 * divisible_by if divisible_by > 1 else 1,
        slice_axis=None if context.kind == "3d" else settings.slice_axis,
        crop=_box(mask),
    )
    intensity = policy_for(volume.modality).fit(volume, mask)
    return Prepared(volume, mask, intensity, grid, context)


def prepare_onto(volume: Volume, other: Prepared, *, mask: np.ndarray | None = None) -> Prepared:
    """Lay a second scan of the same head on the lattice that the first was laid on.

    Parameters
    ----------
    volume : Volume
        On the first one's grid, or on any whose axes are parallel to it.
    other : Prepared
        The first.
    mask : bool array, shape of the volume, optional
        The head; found by `chiasm.head.head_mask` if not given.

    Returns
    -------
    Prepared
        With the volume's own head and intensity map, as `prepare` gives it.

    Raises
    ------
    CaseError
        The axes of the two are not parallel; a mask or an image as in `prepare`.
    """
    mask = head_mask(volume) if mask is None else np.asarray(mask, dtype=bool)
    grid = other.grid
    if not volume.same_grid(other.volume):
        # Files round their affines: axes that are parallel but for that are taken as parallel.
        steps = np.round(np.linalg.solve(volume.affine, grid.network_affine), 5)
        affine = grid.network_affine @ np.linalg.inv(steps)
        try:
            grid = Grid(source=Lattice.of(volume.shape, affine), network=grid.network)
        except ValueError:
            problem = f"is turned against {other.volume!r}"
            legal = "two scans with parallel axes, or one resampled onto the other"
            raise CaseError(explain("image", repr(volume), problem, legal)) from None
    intensity = policy_for(volume.modality).fit(volume, mask)
    return Prepared(volume, mask, intensity, grid, other.context)
