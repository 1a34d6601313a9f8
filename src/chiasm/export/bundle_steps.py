"""The steps of a bundle before and after the network, as Chiasm makes them.

`chiasm export` copies this file into the folder ``scripts`` of a bundle, with the modules of Chiasm
that it imports. Each step takes and returns the dictionary of one scan:

- ``image``: the scan, shape (1, I, J, K), then the input of the network, (1, X, Y, Z) in [0, 1];
- ``foreground``: 1 in the foreground, (1, I, J, K);
- ``along``: the axis, step and start of each axis of the network's lattice, (3, 3);
- ``pred``: the output of the network, (channels, X, Y, Z), then the result, (1, I, J, K).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel import orientations
from scipy.ndimage import distance_transform_edt

from chiasm.image.axes import ROUND, Along, bring, bring_back, centred, ratio_of
from chiasm.image.foreground_search import enclosed, find_foreground

Data = dict[str, Any]


def to_network(
    data: Data,
    spacing: Sequence[float | None],
    orientation: str,
    divisible_by: int,
    ends: tuple[float, float],
) -> Data:
    """Find the foreground, bring intensities to [0, 1] and the scan to the network's lattice.

    Parameters
    ----------
    data : dict
    spacing : three floats or None
        Of the network in mm, along the axes of ``orientation``. None keeps that of the scan.
    orientation : str
        Direction of each axis of the network, e.g. ``"RAS"``.
    divisible_by : int
        The size of the network's lattice is a multiple of it, and at least twice as large.
    ends : two floats
        The percentiles in the foreground that become 0 and 1.

    Raises
    ------
    ValueError
        The scan has no contrast.
    """
    image = data["image"]
    affine, values = np.asarray(image.affine), np.asarray(image.cpu())
    foreground = find_foreground(values[0])
    inner = values[:, foreground] if foreground.any() else np.zeros(1)
    low, high = (float(end) for end in np.percentile(inner, ends))
    if not low < high:
        raise ValueError("the scan has no contrast; legal: a head or a skull-stripped brain")
    turn = orientations.ornt_transform(
        nib.io_orientation(affine), orientations.axcodes2ornt(tuple(orientation))
    )
    axes = np.argsort(turn[:, 0])
    lengths = np.linalg.norm(affine[:3, :3], axis=0)[axes]
    steps = np.array([ratio_of(*one) for one in zip(spacing, lengths, strict=True)])
    steps *= turn[axes, 1]
    starts, shape = [], []
    for axis, step in zip(axes, steps, strict=True):
        others = tuple(other for other in range(3) if other != axis)
        held = np.flatnonzero(foreground.any(axis=others))
        start, count = centred(
            held[0], held[-1] + 1, step, multiple=divisible_by, least=2 * divisible_by
        )
        starts.append(start)
        shape.append(count)
    along = Along(axes, np.round(steps, ROUND), np.round(starts, ROUND))

    unit = np.clip((values - low) / (high - low), 0, 1) * foreground
    inside = bring(foreground.astype(np.uint8), along, shape, 0, labels=True)
    placed = np.clip(bring(unit.astype(np.float32), along, shape, 0), 0, 1) * inside
    # A copy of a MONAI array keeps the affine and the name of the file, which are saved at last.
    data["foreground"] = torch.zeros_like(image) + torch.from_numpy(foreground).to(image.device)
    data["along"] = torch.from_numpy(np.stack(along).astype(np.float64))
    data["image"] = torch.from_numpy(placed.astype(np.float32))
    return data


def to_labels(data: Data, fill_holes: bool) -> Data:
    """The most probable label on the grid of the scan; outside the foreground there is none.

    With ``fill_holes``, background that other labels enclose becomes the most probable of them.
    """
    foreground = _foreground(data)
    pred = np.asarray(data["pred"].cpu())
    scores = np.stack([_back(data, one, float(k == 0)) for k, one in enumerate(pred)])
    best = scores.argmax(0) * foreground
    if fill_holes:
        holes = enclosed((best == 0) & foreground, foreground)
        best[holes] = 1 + scores[1:, holes].argmax(0)
    return _on_scan(data, best)


def to_image(data: Data, low: float, high: float, background: float) -> Data:
    """The first channel on the grid of the scan, in the units of the target.

    In these units 0 is ``low``, 1 is ``high``, and ``background`` is outside the foreground.
    """
    foreground = _foreground(data)
    values = np.clip(np.asarray(data["pred"][0].cpu()), 0, 1) * (high - low) + low
    shape = data["pred"].shape[-3:]
    inside = bring(foreground.astype(np.uint8), _along(data), shape, 0, labels=True) > 0
    # The border is extended outwards, because interpolation would mix it with background.
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    image = _back(data, values[tuple(nearest)].astype(np.float32), background)
    return _on_scan(data, np.where(foreground, image, background))


def _foreground(data: Data) -> np.ndarray:
    return np.asarray(data["foreground"].cpu())[0] > 0


def _back(data: Data, array: np.ndarray, fill: float) -> np.ndarray:
    """An array of the network's lattice on that of the scan."""
    return bring_back(array, _along(data), data["foreground"].shape[1:], fill)


def _along(data: Data) -> Along:
    axes, steps, starts = np.asarray(data["along"].cpu())
    return Along(axes.astype(int), steps, starts)


def _on_scan(data: Data, array: np.ndarray) -> Data:
    """The dictionary with the array as its result, which lies where the scan does."""
    made = data["foreground"].clone()
    made[0] = torch.from_numpy(array.astype(np.float32)).to(made.device)
    data["pred"] = made
    return data
