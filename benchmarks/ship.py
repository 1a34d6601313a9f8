"""Put a trained model among the shipped ones, if it scores better than the one that is there.

    python benchmarks/ship.py NAME FOLDER --method METHOD [--results aldm]
    python benchmarks/ship.py NAME --method METHOD        # write its card anew

FOLDER is what `chiasm train` wrote. METHOD is its row in benchmarks/results/<results>.json ("real
T1w" for a segmenter). The score is the mean over the table's pairs of Dice, or of PSNR where not
every target is segmented (`--results aldm`). The card gets these rows, and those of
results/fidelity.json if they are of this very model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chiasm import files, models
from chiasm.training.card import summary
from harness import cell, results_before

_LIMIT = 20 * 2**20  # bytes; what a repository and a wheel can bear
_COLUMNS = ("psnr", "ssim", "dice_csf", "dice_grey", "dice_white", "dice", "gap_closed")
# How brains are made, models trained and scores computed, by the name of the results.
_MADE = {
    "phantom": ("--modalities T1 --spacing 2", "make models"),
    "aldm": ("--spacing 2", "make models"),
}
_SCORED = {
    "phantom": "10 digital brains of unseen seeds, 10 axial slices each"
    " (`python benchmarks/phantom.py`)",
    "aldm": "{subjects} digital brains of unseen seeds, whole, in the foreground"
    " (`make -C benchmarks any-benchmarks`)",
}
_LIMITS = {
    "phantom": "2 mm in plane",
    "aldm": "2 mm",
}

NOTES = """
## Data

Digital brains of `chiasm phantom --subjects 48 --seed 1 {options}`, made from
the MNI152 2009a templates that nilearn distributes (ICBM, McConnell Brain Imaging Centre; copying
and use permitted with the copyright notice) and signal equations with published tissue
properties. No scan of a person was used. The model was trained by `{command}`.

## Licence

Apache-2.0, as the project.

## Scores

On {scored}:

{table}
{fidelity}{real}
## Limits

This model is for research and is not a medical device. It knows skull-stripped adult brains at
{limits}. It has seen no lesion, no tumour, no surgery and no child. It may change or remove what it
has not seen.
"""
_REAL = """
The project's README has a table of real scans (`python benchmarks/real.py --data DIR`).
"""


def _table(lines: list[dict]) -> str:
    names = ["pair", *(name for name in _COLUMNS if any(name in line for line in lines))]
    rows = [f"| {' | '.join(cell(line.get(name)) for name in names)} |" for line in lines]
    return "\n".join([f"| {' | '.join(names)} |", "|" + "---|" * len(names), *rows])


FIDELITY = """
On heads of people that the model has not seen, at 1 mm, {slices} axial slices each
(`make -C benchmarks heads ANATOMIES=DIR UNSEEN_ANATOMIES=DIR`):

{table}
"""


def _fidelity(name: str, method: str) -> str:
    """The model's rows of fidelity.json; empty if those are of another model, or of none."""
    results = results_before("fidelity") or {"summary": []}
    model = models.load(name, kind=models.peek(name)["kind"])
    own, settings = model.fingerprint, results.get("settings", {})
    if settings.get("segmenter") == {"name": name, "model": own}:
        rows = {method}
    else:
        plain = {"method": model.config.method, "model": own}
        compared = settings.get("methods", {}).items()
        rows = {
            key for key, one in compared if plain.items() <= one.items() and "detail" not in one
        }
    lines = [line for line in results["summary"] if line["method"] in rows]
    return FIDELITY.format(slices=settings["slices"], table=_table(lines)) if lines else ""


def notes(kind: str, results: dict, lines: list[dict], fidelity: str) -> str:
    """What the card says besides what training wrote."""
    options, command = _MADE[kind]
    subjects = len({row["subject"] for row in results["rows"]})
    real = _REAL if kind == "phantom" else ""
    return NOTES.format(
        options=options,
        command=command,
        scored=_SCORED[kind].format(subjects=subjects),
        table=_table(lines),
        fidelity=fidelity,
        real=real,
        limits=_LIMITS[kind],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--method", required=True)
    parser.add_argument("--results", default="phantom", choices=_MADE)
    parser.add_argument(
        "--translatable-from", type=float, help="as benchmarks/uncertainty.py prints it"
    )
    chosen = parser.parse_args()

    results = results_before(chosen.results) or {"summary": [], "rows": []}
    lines = [line for line in results["summary"] if line["method"] == chosen.method]
    if not lines:
        print(f"ship: {chosen.results}.json has no method {chosen.method}", file=sys.stderr)
        return 2
    if chosen.folder is None:
        path = models.SHIPPED / chosen.name
        config = models.ModelConfig.model_validate_json((path / models.CONFIG).read_text())
        found = _fidelity(chosen.name, chosen.method)
        text = summary(config, chosen.name) + notes(chosen.results, results, lines, found)
        files.write_text(path / models.CARD, text, overwrite=True)
        print(f"wrote the card of {chosen.name}")
        return 0
    config = models.ModelConfig.model_validate_json((chosen.folder / models.CONFIG).read_text())
    model = models.load(chosen.folder, kind=config.kind)
    key = "dice" if all("dice" in line for line in lines) else "psnr"
    score = sum(line[key]["mean"] for line in lines) / len(lines)
    if chosen.name in models.shipped():
        trained = models.peek(chosen.name)["training"]
        before = trained.get("score", 0.0)
        if score <= before and trained.get("score_is", "dice") == key:
            print(f"ship: {chosen.name} stays: {key} {score:.4f} is no better than {before:.4f}")
            return 1
    weights = chosen.folder / models.WEIGHTS
    if weights.stat().st_size > _LIMIT:
        print(f"ship: {weights} is larger than {_LIMIT >> 20} MiB", file=sys.stderr)
        return 2
    facts = config.training | {"score": round(score, 4), "score_is": key}
    least = chosen.translatable_from
    config = config.model_copy(update={"training": facts, "translatable_from": least})
    text = summary(config, chosen.name) + notes(chosen.results, results, lines, "")
    models.save(models.SHIPPED / chosen.name, config, model.module, text)
    print(f"shipped {chosen.name}: {score:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
