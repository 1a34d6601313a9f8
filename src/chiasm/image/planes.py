"""The planes in which a model of slices sees a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from chiasm.image.context import PLANES, Plane
from chiasm.image.grid import FEWEST_IN_PLANE
from chiasm.image.orientation import CANONICAL
from chiasm.image.preparation import GridSettings
from chiasm.image.volume import Volume

# One plane, or the mean of all three.
Planes: TypeAlias = Plane | Literal["orthogonal"]

# In mm: a slice of a further plane is used if the scan covers at least this much along both of its
# axes. In a thinner slab, its slices would show little anatomy.
_LEAST_EXTENT = 40.0
OWN = "own"


def grids_of(grid: GridSettings, planes: Planes | None) -> dict[str, GridSettings]:
    """The grid for each plane. With None it is the grid's own plane, which is named "own"."""
    if planes is None:
        return {OWN: grid}
    every = PLANES if planes == "orthogonal" else (planes,)
    return {plane: grid.across(plane) for plane in every}


def shown_by(
    volume: Volume, grids: Mapping[str, GridSettings], own: GridSettings
) -> dict[str, GridSettings]:
    """Those of several planes whose slices show enough of a volume in canonical order.

    If there are none, the result is the model's own grid, which is named "own".
    """
    extents = zip(CANONICAL, volume.shape, volume.spacing, strict=True)
    enough = {way for way, n, mm in extents if n >= FEWEST_IN_PLANE and n * mm >= _LEAST_EXTENT}
    kept: dict[str, GridSettings] = {
        plane: grids[plane]
        for plane, stacked in PLANES.items()
        if plane in grids and enough.union(stacked).issuperset(CANONICAL)
    }
    return kept or {OWN: own}
