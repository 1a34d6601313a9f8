"""Few steps: quality and time of a diffusion at 1, 2, 4, 8 and 20 steps of each scheduler.

    python benchmarks/steps.py [--model brain-t1-lmi] [--subjects 4] [--slices 6] [--start guide]

On digital brains of unseen seeds, as benchmarks/phantom.py. Prints the table and saves it.
"""

from __future__ import annotations

import argparse

from chiasm import api
from chiasm.evaluation.judge import real_name
from chiasm.evaluation.methods import Method
from chiasm.evaluation.summary import summarise
from chiasm.modality import modality_name
from harness import judge_all, save, show
from phantom import COLUMNS, cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="brain-t1-lmi")
    parser.add_argument("--segmenter", default="brain-t1-tissue")
    parser.add_argument("--schedulers", default="ddim,dpm++,unipc")
    parser.add_argument("--steps", default="1,2,4,8,20")
    parser.add_argument("--start", choices=("noise", "guide"), default="noise")
    parser.add_argument("--noise", choices=("slice", "shared"), default="slice")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--seed", type=int, default=90000)
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--sources", default="PD,T2")
    parser.add_argument("--save", default="steps")
    chosen = parser.parse_args()

    options = {"start": chosen.start, "noise": chosen.noise}
    translators = {"none": api.load_translator(chosen.model, "none")}
    for scheduler in chosen.schedulers.split(","):
        for steps in map(int, chosen.steps.split(",")):
            translators[f"{scheduler} {steps}"] = api.load_translator(
                chosen.model, scheduler=scheduler, steps=steps, **options
            )
    segmenter = api.load_segmenter(chosen.segmenter)
    target = translators["none"].model.config.target
    sources = [modality_name(name) for name in chosen.sources.split(",")]

    compared = [Method(name, translator) for name, translator in translators.items()]
    rows = []
    for case in cases(chosen, sources, target, segmenter):
        rows += judge_all(case, compared, segmenter)
    lines = summarise(rows, ceiling=real_name(target))
    show(f"{chosen.model}, from few steps to many", lines, COLUMNS)
    save(chosen.save, vars(chosen), lines, rows)


if __name__ == "__main__":
    main()
