"""Three orthogonal planes averaged, beside each alone: whole digital brains of unseen seeds.

    python benchmarks/planes.py [--model brain-t1] [--subjects 3] [--slices 40]

--slices 40 neighbouring slices are a slab thick enough for every plane. Judged on the same axial
slices by the shipped T1 segmenter; the jump from slice to slice is over that of the real image.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from chiasm import api
from chiasm.evaluation.cases import Case
from chiasm.evaluation.judge import real_name
from chiasm.evaluation.methods import Method
from chiasm.evaluation.slices import take
from chiasm.evaluation.summary import summarise
from chiasm.head import head_mask
from chiasm.modality import modality_name
from chiasm.phantom import Settings, subject
from chiasm.phantom.dataset import subject_seed
from chiasm.segmenters import Segmenter
from harness import judge_all, save, show
from phantom import COLUMNS

PLANES = ("axial", "coronal", "sagittal", "orthogonal")


def slab(
    number: int, chosen: argparse.Namespace, sources: list[str], target: str, segmenter: Segmenter
) -> list[Case]:
    """Neighbouring slices about the middle of one subject's brain, for every source."""
    settings = Settings(modalities=(target, *sources), spacing=chosen.spacing)
    one = subject(subject_seed(chosen.seed, number), settings)
    mask = head_mask(one.volumes[target])
    middle = int(np.median(np.flatnonzero(mask.any(axis=(0, 1)))))
    first = max(0, middle - chosen.slices // 2)
    which = range(first, min(first + chosen.slices, mask.shape[2]))
    mask = mask[:, :, which]
    truth, real = (take(image, 2, which) for image in (one.labels, one.volumes[target]))
    ceiling = segmenter.segment(real, mask).labels
    return [
        Case(f"{number:02d}", take(one.volumes[name], 2, which), real, mask, ceiling, truth)
        for name in sources
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--segmenter", default="brain-t1-tissue")
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--seed", type=int, default=90000)
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--sources", default="PD,T2")
    parser.add_argument("--save", default="planes")
    chosen = parser.parse_args()

    segmenter = api.load_segmenter(chosen.segmenter)
    translators = {"none": api.load_translator(chosen.model, "none")}
    translators |= {name: api.load_translator(chosen.model, planes=name) for name in PLANES}
    target = translators["none"].model.config.target
    sources = [modality_name(name) for name in chosen.sources.split(",")]

    compared = [Method(name, translator) for name, translator in translators.items()]
    rows: list[dict[str, Any]] = []
    for number in range(1, chosen.subjects + 1):
        for case in slab(number, chosen, sources, target, segmenter):
            rows += judge_all(case, compared, segmenter)
    lines = summarise(rows, ceiling=real_name(target))
    show(f"{chosen.model}, by plane", lines, (*COLUMNS, "slice_jump"))
    save(chosen.save, vars(chosen), lines, rows)


if __name__ == "__main__":
    main()
