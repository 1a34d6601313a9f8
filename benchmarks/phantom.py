"""Translators on digital brains of unseen seeds: PD→T1 and T2→T1, beside the real T1.

    python benchmarks/phantom.py [--subjects 10] [--slices 10] [--model NAME=FOLDER]

Every method is judged by the shipped T1 segmenter on the same axial slices of the same subjects.
`make benchmarks` trains the model of the published operator, which is not shipped, and adds it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from chiasm import api
from chiasm.evaluation.cases import Case
from chiasm.evaluation.judge import real_name
from chiasm.evaluation.slices import take
from chiasm.evaluation.summary import summarise
from chiasm.head import head_mask
from chiasm.modality import modality_name
from chiasm.phantom import Settings, subject
from chiasm.phantom.dataset import subject_seed
from chiasm.progress import progress
from chiasm.segmenters import Segmenter
from harness import add_methods, judge_all, methods, save, show

COLUMNS = ("psnr", "ssim", "dice_csf", "dice_grey", "dice_white", "dice", "gap_closed")
COLUMNS += ("seconds_per_slice",)


def cases(
    chosen: argparse.Namespace, sources: list[str], target: str, segmenter: Segmenter
) -> Iterator[Case]:
    """The cases of all subjects; slices span the middle 70 % of the brain."""
    settings = Settings(modalities=(target, *sources), spacing=chosen.spacing)
    with progress("phantoms", chosen.subjects) as advance:
        for number in range(1, chosen.subjects + 1):
            one = subject(subject_seed(chosen.seed, number), settings)
            mask = head_mask(one.volumes[target])
            inside = np.flatnonzero(mask.any(axis=(0, 1)))
            first, last = np.quantile(inside, [0.15, 0.85])
            step = max(1, round((last - first) / max(chosen.slices - 1, 1)))
            which = range(int(first), int(first) + step * chosen.slices, step)
            mask = mask[:, :, which]
            truth, real = (take(image, 2, which) for image in (one.labels, one.volumes[target]))
            ceiling = segmenter.segment(real, mask).labels
            for source in sources:
                facts = {
                    key: float(value)
                    for key, value in one.parameters[source].items()
                    if key.startswith("cnr_")
                }
                image = take(one.volumes[source], 2, which)
                name = f"{number:02d}"
                yield Case(name, image, real, mask, ceiling, truth, adjacent=step == 1, facts=facts)
            advance(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--seed", type=int, default=90000)
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--sources", default="PD,T2")
    add_methods(parser, save="phantom")
    chosen = parser.parse_args()

    compared = methods(chosen, edit_levels=(0.25, 0.5, 0.75))
    segmenter = api.load_segmenter(chosen.segmenter)
    target = segmenter.model.config.target
    sources = [modality_name(name) for name in chosen.sources.split(",")]

    rows = []
    for case in cases(chosen, sources, target, segmenter):
        rows += judge_all(case, compared, segmenter)
    lines = summarise(rows, ceiling=real_name(target))
    show("Digital brains of unseen seeds", lines, COLUMNS)
    save(chosen.save, vars(chosen), lines, rows)


if __name__ == "__main__":
    main()
