"""Few steps: quality and time of a diffusion at 1, 2, 4, 8 and 20 steps of each scheduler.

    python benchmarks/steps.py [--model brain-t1-lmi] [--subjects 4] [--slices 6] [--start guide]

On digital brains of unseen seeds, as benchmarks/phantom.py; the jump from slice to slice is over
that of the real image, between the slices shown. Prints the table and saves it.
"""

from __future__ import annotations

import argparse

from chiasm import api
from chiasm.evaluation.slices import slice_jump_ratio
from chiasm.modality import modality_name
from harness import judge, save, show, summarise
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

    rows = []
    for case in cases(chosen.subjects, chosen.seed, sources, target, chosen.slices, chosen.spacing):
        for name, translator in translators.items():
            made = translator.translate(case.source, case.mask)
            row = judge(case, name, lambda v, m, made=made: made.volume, segmenter)
            seconds = made.record["seconds"] / case.mask.shape[2]
            jump = slice_jump_ratio(made.volume, case.real, case.mask)
            rows.append(row | {"seconds_per_slice": seconds, "slice_jump": jump})
        rows.append(judge(case, f"real {target}", None, segmenter) | {"slice_jump": 1.0})
    lines = summarise(rows, ceiling=f"real {target}", floor="none")
    show(f"{chosen.model}, from few steps to many", lines, (*COLUMNS, "slice_jump"))
    save(chosen.save, vars(chosen), lines, rows)


if __name__ == "__main__":
    main()
