"""Whether the maps of a source are those of the T1, with uniform and with quantile bins.

A network is trained on the maps of T1s, compared with themselves and with noised T1s. In use it is
given those of another contrast. What it needs is that the map of the source with itself is like the
map of the T1 with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chiasm.image.context import Context
from chiasm.image.foreground import foreground_mask
from chiasm.image.preparation import GridSettings, prepare, prepare_onto
from chiasm.image.volume import Volume
from chiasm.lmi import local_mutual_information
from chiasm.lmi.settings import Binning
from chiasm.models import peek
from chiasm.phantom import Settings, subject
from chiasm.phantom.dataset import subject_seed
from harness import DIFFUSION

COLUMNS = ("map_correlation", "map_difference", "source_map", "target_map", "agreement")
BINNINGS: tuple[Binning, ...] = ("uniform", "quantile")
SOURCES = ("PDw", "T2w", "FLAIR")
SEED, SPACING = 90000, 2.0  # those of the other tables


def pairs(subjects: int, data: Path | None) -> Iterator[tuple[str, Volume, Volume, np.ndarray]]:
    """(set, source, T1, brain mask) of digital brains, and of the scans in a folder."""
    settings = Settings(modalities=("T1w", *SOURCES), spacing=SPACING)
    for number in range(1, subjects + 1):
        volumes = subject(subject_seed(SEED, number), settings).volumes
        for name in SOURCES:
            mask = foreground_mask(volumes["T1w"])
            yield "digital brains", volumes[name], volumes["T1w"], mask
    if data is not None:
        from real import sets

        yield from sets(data)


def slices(source: Volume, target: Volume, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Source, target (N, 1, X, Y) and bool foreground, as the shipped diffusion model sees them."""
    grid = GridSettings.model_validate(peek(DIFFUSION)["grid"])
    first = prepare(target, grid, Context(kind="2d"), mask=mask)
    second = prepare_onto(source, first, mask=mask)
    kept = first.slice_indices()
    foreground = first.context.samples(first.foreground)
    return second.samples()[kept], first.samples()[kept], foreground[kept]


def compare(
    source: np.ndarray, target: np.ndarray, foreground: np.ndarray, binning: Binning
) -> dict[str, float]:
    """What the maps of two contrasts of one brain have in common, within its foreground.

    Returns
    -------
    dict
        ``source_map``, ``target_map`` and ``agreement`` are the means of LMI(source, source),
        LMI(T1, T1) and LMI(source, T1). ``map_correlation`` and ``map_difference`` are the
        correlation of the first two and the mean of their absolute difference.
    """

    def score(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        scores: np.ndarray = local_mutual_information(first, second, binning=binning)
        return scores[foreground]

    own, wanted, shared = (score(*two) for two in ((source,) * 2, (target,) * 2, (source, target)))
    return {
        "map_correlation": float(np.corrcoef(own, wanted)[0, 1]),
        "map_difference": float(np.abs(own - wanted).mean()),
        "source_map": float(own.mean()),
        "target_map": float(wanted.mean()),
        "agreement": float(shared.mean()),
    }


def measure_maps(subjects: int, data: Path | None) -> list[dict[str, Any]]:
    """One line for each set, source and kind of bins; the means over the subjects."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, source, target, mask in pairs(subjects, data):
        images = slices(source, target, mask)
        for binning in BINNINGS:
            key = f"{name}, {source.modality}→{target.modality}", binning
            found.setdefault(key, []).append(compare(*images, binning))
    return [
        {"pair": pair, "method": binning, "subjects": len(rows)}
        | {column: float(np.mean([row[column] for row in rows])) for column in COLUMNS}
        for (pair, binning), rows in found.items()
    ]
