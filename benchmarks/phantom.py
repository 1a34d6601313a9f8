"""Translators on digital brains of unseen seeds: PD, T2 and FLAIR to T1, beside the real T1.

    python benchmarks/phantom.py [--subjects 10] [--slices 10] [--model NAME=FOLDER]
        [--anatomies DIR]

With --anatomies, the brains are those of people, drawn from label maps of their heads.

Every translation is segmented by the shipped T1 segmenter and scored on the same axial slices of
the same subjects. `make -C benchmarks benchmarks` trains the model of the published operator,
which is not shipped, and adds it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from chiasm.comparison.cases import Case, Complete
from chiasm.comparison.score import real_name
from chiasm.comparison.summary import summarise
from chiasm.image.foreground import foreground_mask
from chiasm.machine.progress import progress
from chiasm.phantom import Settings, subject
from chiasm.phantom.dataset import subject_seed
from chiasm.phantom.head_subject import head_subject, label_maps
from chiasm.phantom.simulation import Subject
from chiasm.scoring.slices import take
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter
from harness import (
    add_brains,
    add_methods,
    methods,
    modalities,
    save,
    saved_options,
    score_all,
    show,
    target_of,
    with_rows_before,
)

COLUMNS = ("psnr", "ssim", "dice_csf", "dice_grey", "dice_white", "dice", "gap_closed")
COLUMNS += ("seconds_per_slice",)
# Foreground (I, J, K) and labels (I, J, K) of a brain -> indices of its axial slices.
Choice = Callable[[np.ndarray, np.ndarray], range]


def brains(
    chosen: argparse.Namespace,
    sources: Sequence[str],
    target: str,
    segmenter: Segmenter,
    choice: Choice,
    *,
    lesions: bool = False,
) -> Iterator[Case]:
    """The cases of digital brains: of every subject, one for each source.

    Parameters
    ----------
    chosen : argparse.Namespace
        ``subjects``, ``seed``, ``spacing`` and ``anatomies``, as `harness.add_brains` reads them.
    sources, target
        BIDS suffixes.
    segmenter : Segmenter
        Its labels of the real target are the ceiling.
    choice : callable
        Which axial slices of a brain are kept.
    lesions : bool
        Whether the brains have lesions.
    """
    settings = Settings(modalities=(target, *sources), spacing=chosen.spacing, lesions=lesions)
    draw: Callable[[int, Settings], Subject] = subject
    if chosen.anatomies:
        draw = partial(head_subject, paths=label_maps(chosen.anatomies))
    with progress("phantoms", chosen.subjects) as advance:
        for number in range(1, chosen.subjects + 1):
            one = draw(subject_seed(chosen.seed, number), settings)
            mask = foreground_mask(one.volumes[target])
            which = choice(mask, one.labels.array)
            whole, mask = mask, mask[:, :, which]
            truth, real = (take(image, 2, which) for image in (one.labels, one.volumes[target]))
            ceiling = take(segmenter.segment(one.volumes[target], whole).labels, 2, which)
            for source in sources:
                facts = {
                    key: float(value)
                    for key, value in one.parameters[source].items()
                    if key.startswith("cnr_")
                }
                yield Case(
                    f"{number:02d}",
                    take(one.volumes[source], 2, which),
                    real,
                    mask,
                    ceiling,
                    truth,
                    adjacent=which.step == 1,
                    facts=facts,
                    complete=Complete(one.volumes[source], whole, 2, which),
                )
            advance(1)


def middle_slices(mask: np.ndarray, count: int) -> range:
    """Indices of evenly spaced axial slices over the middle 70 % of a foreground."""
    inside = np.flatnonzero(mask.any(axis=(0, 1)))
    first, last = np.quantile(inside, [0.15, 0.85])
    step = max(1, round((last - first) / max(count - 1, 1)))
    return range(int(first), int(first) + step * count, step)


def cases(
    chosen: argparse.Namespace, sources: Sequence[str], target: str, segmenter: Segmenter
) -> Iterator[Case]:
    """The cases of all subjects, on ``chosen.slices`` slices of the middle of the brain."""

    def choice(mask: np.ndarray, labels: np.ndarray) -> range:
        return middle_slices(mask, chosen.slices)

    return brains(chosen, sources, target, segmenter, choice)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_brains(parser, subjects=10, slices=10, sources="PD,T2,FLAIR")
    add_methods(parser, save="phantom")
    chosen = parser.parse_args()

    segmenter = load_segmenter(chosen.segmenter)
    compared = methods(chosen, (0.25, 0.5, 0.75), segmenter)
    target = target_of(segmenter)

    rows = []
    for case in cases(chosen, modalities(chosen.sources), target, segmenter):
        rows += score_all(case, compared)
    if chosen.only:
        rows = with_rows_before(chosen.save, rows)
    lines = summarise(rows, ceiling=real_name(target))
    show("Digital brains of unseen seeds", lines, COLUMNS)
    save(chosen.save, saved_options(chosen, "only"), lines, rows)


if __name__ == "__main__":
    main()
