"""The table of every method on heads of people that no model has seen, at 1 mm.

    chiasm phantom -o DIR --anatomies LABEL_MAPS --subjects 8 --seed 90000 --spacing 1
    python benchmarks/fidelity.py --data DIR [--slices 6] [--model NAME=FOLDER] [--keep]

LABEL_MAPS holds label maps of people that the models were not trained on. The methods are those of
the shipped models and of the folders that `make -C benchmarks baselines ANATOMIES=DIR` trains;
`make -C benchmarks heads` does all of it. `chiasm compare` is run in the folder --runs, where an
interrupted run goes on. Its summary and its rows are saved. With --keep, saved rows of the same
scans and of other methods stay, so that one method can be measured anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import chiasm
from chiasm.comparison.methods import FLOOR
from chiasm.comparison.outputs import print_tables
from chiasm.comparison.score import real_name
from chiasm.comparison.summary import summarise
from harness import results_before, save, with_rows_before

SHIPPED = ("none", "histogram", "sdedit@0.25", "sdedit@0.5", "sdedit@0.75", "lmi-diffusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/fidelity"))
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--sources", default="PD,T2,FLAIR")
    parser.add_argument("--methods", default=",".join((*SHIPPED, "regression")))
    parser.add_argument("--model", action="append", default=[], help="more methods, NAME=FOLDER")
    parser.add_argument("--save", default="fidelity")
    parser.add_argument("--keep", action="store_true", help="keep the saved rows of other methods")
    chosen = parser.parse_args()

    result = chiasm.compare(
        chosen.data,
        chosen.runs,
        methods=[*chosen.methods.split(","), *chosen.model],
        sources=chosen.sources.split(","),
        slices=chosen.slices,
    )
    print_tables(result)
    settings = {"slices": chosen.slices, "data": chosen.data.name} | {
        key: value for key, value in result["settings"].items() if key != "input"
    }
    settings["methods"] = result["methods"]
    lines, rows = result["summary"], result["rows"]
    if chosen.keep:
        before = results_before(chosen.save) or {"settings": {"methods": {}}}
        settings["methods"] = before["settings"]["methods"] | result["methods"]
        rows = with_rows_before(chosen.save, rows)
        lines = summarise(rows, ceiling=real_name(result["settings"]["target"]), floor=FLOOR)
    save(chosen.save, settings, lines, rows)


if __name__ == "__main__":
    main()
