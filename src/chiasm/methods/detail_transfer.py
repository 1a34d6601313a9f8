"""Detail transfer restores fine detail of the source that the network's coarse grid loses.

Near each voxel, a translation is mostly a function of the source's intensities. This local
intensity mapping is measured between the source and the translation. The source mapped through it
is as sharp as the scan. The mapped source replaces the translation where both agree. Where they
disagree, for example where two tissues look alike in the source, the translation is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter, map_coordinates


class DetailTransferSettings(BaseModel):
    """Settings of detail transfer.

    Parameters
    ----------
    width : float
        Standard deviation of the neighbourhood in which a mapping is measured, in mm.
    nodes : int
        A mapping is known at this many intensities, equally spaced on [0, 1].
    prior : float
        Weight of the whole volume's mapping, as a share of a neighbourhood's voxels.
    tolerance : float
        Disagreement with the translation, on [0, 1], at which the weight of the mapped source falls
        to 1/e.
    reach : float
        Standard deviation of the neighbourhood over which the disagreement is averaged, in mm.
    blur : float
        Standard deviation of the translation's blur, in mm. It is about half a voxel of the
        network's grid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: float = Field(default=8.0, gt=0)
    nodes: int = Field(default=20, ge=2)
    prior: float = Field(default=0.05, gt=0)
    tolerance: float = Field(default=0.1, gt=0)
    reach: float = Field(default=3.0, ge=0)
    blur: float = Field(default=1.0, ge=0)


# Width of the filter over the cells; the linear interpolation of the grid widens it further.
_CELLS = 0.8
# Widths of the smoothing over nodes; nodes without voxels follow those that have some.
_CLOSE, _FAR_WEIGHT = 0.6, 1e-3
_AT_ONCE = 2**19  # voxels, which limits the memory


def with_detail(
    source: np.ndarray,
    translation: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    settings: DetailTransferSettings,
) -> np.ndarray:
    """Apply detail transfer to a translation.

    Parameters
    ----------
    source, translation : array, shape (X, Y, Z)
        On one grid, in [0, 1].
    mask : bool array, shape (X, Y, Z)
        The foreground. Outside it the translation is not changed.
    spacing : three floats
        Voxel size of the grid, in mm.
    settings : DetailTransferSettings

    Returns
    -------
    array, shape (X, Y, Z), float32
    """
    if not mask.any():
        return translation.astype(np.float32)

    def blurred(image: np.ndarray, width: float) -> np.ndarray:
        sigma = [width / step for step in spacing]
        covered = gaussian_filter(mask.astype(np.float32), sigma)
        mixed = gaussian_filter(np.where(mask, image, 0).astype(np.float32), sigma)
        return np.where(mask, mixed / np.maximum(covered, 1e-6), 0)

    def mapped(image: np.ndarray) -> np.ndarray:
        result = np.zeros(mask.shape, np.float32)
        result[mask] = locally_mapped(source, image, mask, spacing, settings)
        return result

    # Mappings of a blurred image are too flat, so the loss by a second blur is added back.
    sharp = mapped(translation)
    sharp = np.clip(sharp + mapped(translation - blurred(sharp, settings.blur)), 0, 1)
    apart = blurred(np.abs(blurred(sharp, settings.blur) - translation), settings.reach)
    share = np.exp(-((apart / settings.tolerance) ** 2))
    mixed = translation + share * (sharp - translation)
    return np.where(mask, mixed, translation).astype(np.float32)


def locally_mapped(
    source: np.ndarray,
    translation: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    settings: DetailTransferSettings,
) -> np.ndarray:
    """Map each source voxel of the mask through the mapping of its own neighbourhood: (n,).

    This is a bilateral grid (Chen, Paris & Durand, SIGGRAPH 2007). The voxels are collected in
    cells of position and source intensity. The mean translations of the cells are smoothed over
    the positions and interpolated. The arguments are those of `with_detail`.
    """
    where = np.argwhere(mask).astype(np.float32)
    place = (where - where.min(axis=0)) * np.array(spacing, np.float32) / np.float32(settings.width)
    seen = np.clip(source[mask], 0, 1).astype(np.float32) * (settings.nodes - 1)
    position = np.column_stack([place, seen])
    shape = (*(int(n) + 2 for n in place.max(axis=0)), settings.nodes)
    count, total = _gathered(position, translation[mask], shape)
    # The whole volume's mapping, also at intensities that no voxel has.
    whole = _smoothed(total.sum((0, 1, 2))) / _smoothed(count.sum((0, 1, 2)))
    smooth = (_CELLS, _CELLS, _CELLS, 0)
    count, total = (gaussian_filter(one, smooth) for one in (count, total))
    prior = settings.prior * count.sum(axis=-1, keepdims=True) + np.finfo(np.float32).tiny
    mappings = (total + prior * whole) / (count + prior)
    found = [
        map_coordinates(mappings, position[some].T, order=1, mode="nearest", output=np.float32)
        for some in _chunks(len(position))
    ]
    return np.concatenate(found)


def _smoothed(nodes: np.ndarray) -> np.ndarray:
    """Smooth the nodes of a mapping closely, and weakly over all nodes."""
    return gaussian_filter(nodes, _CLOSE) + _FAR_WEIGHT * gaussian_filter(nodes, len(nodes))


def _gathered(
    position: np.ndarray, values: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Number and sum of values at fractional positions (n, 4), shared among the nearest cells."""
    count, total = np.zeros(int(np.prod(shape))), np.zeros(int(np.prod(shape)))
    for some in _chunks(len(position)):
        low = np.minimum(position[some].astype(np.int64), np.array(shape) - 2)
        share = position[some] - low
        for corner in itertools.product((0, 1), repeat=len(shape)):
            weight = np.prod(np.where(corner, share, 1 - share), axis=1)
            cell = np.ravel_multi_index(tuple((low + corner).T), shape)
            count += np.bincount(cell, weight, count.size)
            total += np.bincount(cell, weight * values[some], count.size)
    return count.reshape(shape), total.reshape(shape)


def _chunks(number: int) -> Iterator[slice]:
    """Slices that divide this many voxels into chunks, to limit the memory."""
    return (slice(first, first + _AT_ONCE) for first in range(0, number, _AT_ONCE))
