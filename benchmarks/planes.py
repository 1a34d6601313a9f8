"""The mean of three orthogonal planes, beside each plane alone, on digital brains of unseen seeds.

    python benchmarks/planes.py [--model brain-t1] [--subjects 3] [--slices 40] [--anatomies DIR]

A slab of 40 neighbouring slices is thick enough for every plane. All are scored on the same axial
slices by the shipped T1 segmenter. The jump from slice to slice is divided by that of the real
image.
"""

from __future__ import annotations

import argparse

import numpy as np

from chiasm.comparison.score import real_name
from chiasm.comparison.summary import summarise
from chiasm.methods.load import load_translator
from chiasm.registry import DEFAULT_MODEL, DEFAULT_SEGMENTER
from chiasm.segmenters.load import load_segmenter
from harness import (
    add_brains,
    candidates,
    modalities,
    save,
    saved_options,
    score_all,
    show,
    target_of,
)
from phantom import COLUMNS, brains

PLANES = ("axial", "coronal", "sagittal", "orthogonal")


def slab(mask: np.ndarray, count: int) -> range:
    """Indices of neighbouring axial slices about the middle of a foreground."""
    middle = int(np.median(np.flatnonzero(mask.any(axis=(0, 1)))))
    first = max(0, middle - count // 2)
    return range(first, min(first + count, mask.shape[2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    add_brains(parser, subjects=3, slices=40, sources="PD,T2")
    parser.add_argument("--save", default="planes")
    chosen = parser.parse_args()

    segmenter = load_segmenter(chosen.segmenter)
    translators = {"none": load_translator(chosen.model, "none")}
    translators |= {name: load_translator(chosen.model, planes=name) for name in PLANES}
    compared = candidates(translators, segmenter)
    target = target_of(segmenter)

    def choice(mask: np.ndarray, labels: np.ndarray) -> range:
        return slab(mask, chosen.slices)

    rows = []
    for case in brains(chosen, modalities(chosen.sources), target, segmenter, choice):
        rows += score_all(case, compared)
    lines = summarise(rows, ceiling=real_name(target))
    show(f"{chosen.model}, by plane", lines, (*COLUMNS, "slice_jump"))
    save(chosen.save, saved_options(chosen), lines, rows)


if __name__ == "__main__":
    main()
