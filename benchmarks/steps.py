"""Quality and time of a diffusion at 1, 2, 4, 8 and 20 steps of each scheduler.

    python benchmarks/steps.py [--model brain-t1-lmi] [--subjects 4] [--slices 6] [--anatomies DIR]

The digital brains are those of benchmarks/phantom.py. The table is printed and saved.
"""

from __future__ import annotations

import argparse

from chiasm.comparison.score import real_name
from chiasm.comparison.summary import summarise
from chiasm.methods.load import load_translator
from chiasm.registry import DEFAULT_SEGMENTER
from chiasm.segmenters.load import load_segmenter
from harness import (
    DIFFUSION,
    add_brains,
    candidates,
    modalities,
    save,
    saved_options,
    score_all,
    show,
    target_of,
)
from phantom import COLUMNS, cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DIFFUSION)
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    parser.add_argument("--schedulers", default="ddim,dpm++,unipc")
    parser.add_argument("--steps", default="1,2,4,8,20")
    parser.add_argument("--noise", choices=("slice", "shared"), default="slice")
    add_brains(parser, subjects=4, slices=6, sources="PD,T2")
    parser.add_argument("--save", default="steps")
    chosen = parser.parse_args()

    translators = {"none": load_translator(chosen.model, "none")}
    for scheduler in chosen.schedulers.split(","):
        for steps in map(int, chosen.steps.split(",")):
            translators[f"{scheduler} {steps}"] = load_translator(
                chosen.model, scheduler=scheduler, steps=steps, noise=chosen.noise
            )
    segmenter = load_segmenter(chosen.segmenter)
    compared = candidates(translators, segmenter)
    target = target_of(segmenter)

    rows = []
    for case in cases(chosen, modalities(chosen.sources), target, segmenter):
        rows += score_all(case, compared)
    lines = summarise(rows, ceiling=real_name(target))
    show(f"{chosen.model}, from few steps to many", lines, COLUMNS)
    save(chosen.save, saved_options(chosen), lines, rows)


if __name__ == "__main__":
    main()
