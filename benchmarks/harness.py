"""What the benchmarks share: the methods that they compare, their tables and their results files.

To import it registers the guides, the method and the segmenter of this folder, which are no part
of the package.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import chiasm
import joint.joint  # noqa: F401
import published.guide  # noqa: F401
import refine.translation_guide  # noqa: F401
import stylegan.method  # noqa: F401
from chiasm import files
from chiasm.comparison.cases import Case
from chiasm.comparison.methods import FLOOR, Candidate, load_methods
from chiasm.comparison.score import score, score_real
from chiasm.image.modality import modality_name
from chiasm.methods.base import Translator
from chiasm.methods.load import load_translator
from chiasm.phantom.head_subject import label_maps
from chiasm.pipeline import Pipeline
from chiasm.registry import DEFAULT_MODEL, DEFAULT_SEGMENTER
from chiasm.segmenters import Segmenter

RESULTS = Path(__file__).parent / "results"
DIFFUSION = "brain-t1-lmi"


def add_methods(parser: argparse.ArgumentParser, save: str) -> None:
    """The options that say which models are compared, and under which name results are saved."""
    parser.add_argument("--regression", default=DEFAULT_MODEL)
    parser.add_argument("--diffusion", default=DIFFUSION)
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    parser.add_argument("--model", action="append", default=[], help="more models, NAME=FOLDER")
    parser.add_argument("--save", default=save)
    parser.add_argument(
        "--only",
        default="",
        help="score these methods alone, and keep the saved rows of others",
    )


def add_brains(
    parser: argparse.ArgumentParser,
    *,
    subjects: int,
    slices: int,
    sources: str | None = None,
    seed: int = 90000,
) -> None:
    """The options that say which digital brains are made, with their defaults."""
    parser.add_argument("--subjects", type=int, default=subjects)
    parser.add_argument("--slices", type=int, default=slices)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--spacing", type=float, default=2.0, help="of the brains, in mm")
    about = "a folder of label maps; heads of these people are drawn instead of the average brain"
    parser.add_argument("--anatomies", type=Path, help=about)
    if sources is not None:
        parser.add_argument("--sources", default=sources)


def saved_options(chosen: argparse.Namespace, *left: str) -> dict[str, Any]:
    """The options that a results file keeps; of label maps it keeps their number."""
    settings = {key: value for key, value in vars(chosen).items() if key not in left}
    folder = settings.pop("anatomies", None)
    return settings | ({} if folder is None else {"people": len(label_maps(folder))})


def modalities(names: str) -> list[str]:
    """Comma-separated names as BIDS suffixes."""
    return [modality_name(name) for name in names.split(",")]


def target_of(segmenter: Segmenter) -> str:
    """The modality that a segmenter knows, which is what translations are made for."""
    if segmenter.modality is None:
        raise SystemExit(f"--segmenter {segmenter.name}: knows any modality; legal: one of one")
    return segmenter.modality


def candidates(translators: Mapping[str, Translator], segmenter: Segmenter) -> list[Candidate]:
    """Translators under the names of their rows, each followed by the common segmenter."""
    return [Candidate(name, Pipeline(one, segmenter)) for name, one in translators.items()]


def methods(
    chosen: argparse.Namespace, edit_levels: Sequence[float], segmenter: Segmenter
) -> list[Candidate]:
    """The methods that the options of `add_methods` name, SDEdit at each of its levels."""
    found = {
        "none": load_translator(chosen.regression, "none"),
        "histogram": load_translator(chosen.regression, "histogram"),
        "regression": load_translator(chosen.regression),
    }
    if chosen.diffusion:
        for level in edit_levels:
            found[f"sdedit {level}"] = load_translator(chosen.diffusion, "sdedit", edit_from=level)
        found["lmi-diffusion corrected"] = load_translator(chosen.diffusion)
    more = load_methods(chosen.model, segmenter) if chosen.model else []
    every = candidates(found, segmenter) + [one for one in more if one.name != FLOOR]
    only = [name for name in chosen.only.split(",") if name]
    if unknown := {*only} - {one.name for one in every}:
        raise SystemExit(f"--only {sorted(unknown)}: legal: {[one.name for one in every]}")
    return [one for one in every if not only or one.name in only]


def score_all(case: Case, compared: Sequence[Candidate]) -> list[dict[str, Any]]:
    """The rows of one case: those of every method that knows its source, and the real target's."""
    knowing = [one for one in compared if one.knows(case.source.modality)]
    return [*(score(case, one).row for one in knowing), score_real(case).row]


def show(title: str, lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print the summary as a table."""
    table = Table(title=title)
    for name in ("pair", "method", *columns):
        table.add_column(name, justify="left" if name in ("pair", "method") else "right")
    for line in lines:
        table.add_row(line["pair"], line["method"], *(cell(line.get(name)) for name in columns))
    Console(width=200).print(table)


def cell(value: Any) -> str:
    """A number, or a mean with its interval, in three digits; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        low_high = value.get("interval")
        span = f" [{low_high[0]:.3g}, {low_high[1]:.3g}]" if low_high else ""
        return f"{cell(value['mean'])}{span}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def results_file(name: str, suffix: str = ".json") -> Path:
    """Where the results of this name are kept."""
    return RESULTS / f"{name}{suffix}"


def results_before(name: str) -> dict[str, Any] | None:
    """The results of this name; None if there are none."""
    path = results_file(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def rows_before(name: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the results of this name, if they are of these settings: to go on from."""
    before = results_before(name)
    if before is None:
        return []
    # Written and read again, as what is in the file was.
    same = before["settings"] == json.loads(json.dumps(dict(settings)))
    return before["rows"] if same else []


def rows_to_extend(
    parser: argparse.ArgumentParser, name: str, settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """As `rows_before`, but rows of other settings are an error: their trainings took long."""
    rows = rows_before(name, settings)
    if not rows and (results_before(name) or {}).get("rows"):
        problem = "holds rows of other settings; legal: another name to --save"
        parser.error(f"{results_file(name).name} {problem}")
    return rows


_CASE = ("set", "subject", "session", "pair")


def with_rows_before(
    name: str,
    rows: Sequence[dict[str, Any]],
    *,
    keep_methods: bool = True,
    keep_sets: bool = False,
) -> list[dict[str, Any]]:
    """The saved rows of this name, with new rows in place of those of the same case and method.

    New rows follow the others. Saved rows of cases that were not scored now are left out.

    Parameters
    ----------
    name : str
        Of the results file.
    rows : sequence of dict
        What was measured now.
    keep_methods : bool
        Whether the rows of other methods stay, in the cases that were scored now.
    keep_sets : bool
        Whether the rows of other sets stay, of which no case was scored now.
    """
    before = (results_before(name) or {"rows": []})["rows"]

    def case(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(key, "") for key in _CASE)

    fresh = {(case(row), row["method"]): row for row in rows}
    scored = {case(row) for row in rows}
    made = {row["method"] for row in rows}
    sets = {row.get("set", "") for row in rows}
    merged = []
    for row in before:
        key = (case(row), row["method"])
        if key in fresh:
            merged.append(fresh.pop(key))
        elif key[0] in scored:
            if keep_methods and row["method"] not in made:
                merged.append(row)
        elif keep_sets and row.get("set", "") not in sets:
            merged.append(row)
    return [*merged, *fresh.values()]


def save(name: str, settings: Mapping[str, Any], lines: Any, rows: Any) -> Path:
    """Write benchmarks/results/<name>.json: where, how, the summary, and every row."""
    content = {
        "benchmark": name,
        "chiasm": chiasm.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "settings": dict(settings),
        "summary": lines,
        "rows": rows,
    }
    path = results_file(name)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    files.write_text(path, text, overwrite=True)
    print(f"saved {path.name}")
    return path


def save_part(name: str, part: str, settings: Mapping[str, Any], lines: Any) -> Path:
    """Write one part of the summary of benchmarks/results/<name>.json, and keep all others.

    The settings of the part are kept under its name. What the file says about versions and threads
    is that of the run which made it.
    """
    before = results_before(name)
    if before is None:
        return save(name, {part: settings}, {part: lines}, [])
    before["settings"][part] = dict(settings)
    before["summary"][part] = lines
    path = results_file(name)
    text = json.dumps(before, indent=1, ensure_ascii=False) + "\n"
    files.write_text(path, text, overwrite=True)
    print(f"saved {part} in {path.name}")
    return path


def absent(folder: Path) -> bool:
    """Whether a data set is not there; it is then left out, and a line says so."""
    if folder.is_dir():
        return False
    print(f"left out, not there: {folder}")
    return True
