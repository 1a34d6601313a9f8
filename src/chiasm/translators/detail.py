"""What a network's coarse lattice and its averaging lose of the source's own detail, put back.

A translation is mostly a function of the source's intensities that changes slowly from place to
place. That function is taken from the translation itself, as a curve around every place; the source
mapped through it is as sharp as the scan, and as clean. Where it agrees with the translation it
takes its place. Where it does not, as where two tissues look alike in the source, the translation
knows better and stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter, map_coordinates


class DetailSettings(BaseModel):
    """How local curves are taken, and how far they are believed.

    Parameters
    ----------
    width : float
        Standard deviation of the neighbourhood that a curve is taken from, in mm.
    nodes : int
        Of a curve, equally spaced on [0, 1].
    prior : float
        Weight of the whole volume's curve, as a share of a neighbourhood's voxels.
    tolerance : float
        Disagreement with the translation, on [0, 1], at which the source's part falls to 1/e.
    reach : float
        Standard deviation of the neighbourhood that disagreement is averaged over, in mm.
    blur : float
        Standard deviation of the translation's blur, in mm; about half a voxel of the network's
        lattice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: float = Field(default=8.0, gt=0)
    nodes: int = Field(default=20, ge=2)
    prior: float = Field(default=0.05, gt=0)
    tolerance: float = Field(default=0.1, gt=0)
    reach: float = Field(default=3.0, ge=0)
    blur: float = Field(default=1.0, ge=0)


# The spread of linear interpolation onto the cells and off them adds to that of this filter.
_CELLS = 0.8
# Nodes of a curve that no voxel is near follow those that some are.
_CLOSE, _FAR_WEIGHT = 0.6, 1e-3
_AT_ONCE = 2**19  # voxels


def with_detail(
    source: np.ndarray,
    translation: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    settings: DetailSettings,
) -> np.ndarray:
    """The translation, with the source's own detail where both agree.

    Parameters
    ----------
    source, translation : array, shape (X, Y, Z)
        On one grid, in [0, 1].
    mask : bool array, shape (X, Y, Z)
        The head; elsewhere the translation is returned as it is.
    spacing : three floats
        Of the grid, in mm.
    settings : DetailSettings

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

    # Curves of a blurred image are too flat: what blurring them again loses is added.
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
    settings: DetailSettings,
) -> np.ndarray:
    """The source's voxels in the mask, each through the curve of its own neighbourhood: (n,).

    A bilateral grid (Chen, Paris & Durand, SIGGRAPH 2007): voxels are gathered in cells of place
    and source intensity, whose mean translations are smoothed over places and interpolated.
    Arguments as in `with_detail`.
    """
    where = np.argwhere(mask).astype(np.float32)
    place = (where - where.min(axis=0)) * np.array(spacing, np.float32) / np.float32(settings.width)
    seen = np.clip(source[mask], 0, 1).astype(np.float32) * (settings.nodes - 1)
    position = np.column_stack([place, seen])
    shape = (*(int(n) + 2 for n in place.max(axis=0)), settings.nodes)
    count, total = _gathered(position, translation[mask], shape)
    # The whole volume's curve, also where no voxel of it is.
    curve = _smoothed(total.sum((0, 1, 2))) / _smoothed(count.sum((0, 1, 2)))
    smooth = (_CELLS, _CELLS, _CELLS, 0)
    count, total = (gaussian_filter(one, smooth) for one in (count, total))
    prior = settings.prior * count.sum(axis=-1, keepdims=True) + np.finfo(np.float32).tiny
    curves = (total + prior * curve) / (count + prior)
    found = [
        map_coordinates(curves, position[some].T, order=1, mode="nearest", output=np.float32)
        for some in _parts(len(position))
    ]
    return np.concatenate(found)


def _smoothed(nodes: np.ndarray) -> np.ndarray:
    """Nodes of a curve, each with a little of its neighbours', however far those are."""
    return gaussian_filter(nodes, _CLOSE) + _FAR_WEIGHT * gaussian_filter(nodes, len(nodes))


def _gathered(
    position: np.ndarray, values: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Number and sum of values at fractional positions (n, 4), each shared by the cells around."""
    count, total = np.zeros(int(np.prod(shape))), np.zeros(int(np.prod(shape)))
    for some in _parts(len(position)):
        low = np.minimum(position[some].astype(np.int64), np.array(shape) - 2)
        share = position[some] - low
        for corner in itertools.product((0, 1), repeat=len(shape)):
            weight = np.prod(np.where(corner, share, 1 - share), axis=1)
            cell = np.ravel_multi_index(tuple((low + corner).T), shape)
            count += np.bincount(cell, weight, count.size)
            total += np.bincount(cell, weight * values[some], count.size)
    return count.reshape(shape), total.reshape(shape)


def _parts(number: int) -> Iterator[slice]:
    """All voxels, so many at once: what each of them needs is large."""
    return (slice(first, first + _AT_ONCE) for first in range(0, number, _AT_ONCE))
