"""The table of every method on 20 unseen digital brains at 1 mm.

    chiasm phantom -o DIR --subjects 20 --seed 90000 --spacing 1
    python benchmarks/fidelity.py --data DIR [--slices 6] [--model NAME=FOLDER]

The methods are those of the shipped models and of the folders that `make -C benchmarks baselines`
trains. `chiasm compare` is run in the folder --runs, where an interrupted run goes on. Its summary
and its rows are saved.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import chiasm
from chiasm.comparison.outputs import print_tables
from harness import save

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
    save(chosen.save, settings, result["summary"], result["rows"])


if __name__ == "__main__":
    main()
