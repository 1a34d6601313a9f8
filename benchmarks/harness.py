"""What the benchmarks share: which methods they compare, their table, and their results file."""

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
from chiasm import api, files
from chiasm.evaluation.cases import Case
from chiasm.evaluation.judge import judge, judge_real
from chiasm.evaluation.methods import FLOOR, Method, load_methods
from chiasm.segmenters import Segmenter

RESULTS = Path(__file__).parent / "results"


def add_methods(parser: argparse.ArgumentParser, save: str) -> None:
    """The options that say which models are compared, and under which name results are saved."""
    parser.add_argument("--regression", default="brain-t1")
    parser.add_argument("--diffusion", default="brain-t1-lmi")
    parser.add_argument("--segmenter", default="brain-t1-tissue")
    parser.add_argument("--model", action="append", default=[], help="more models, NAME=FOLDER")
    parser.add_argument("--save", default=save)


def methods(chosen: argparse.Namespace, edit_levels: Sequence[float]) -> list[Method]:
    """The methods that the options of `add_methods` name, SDEdit at each of its levels."""
    found = {
        "none": api.load_translator(chosen.regression, "none"),
        "histogram": api.load_translator(chosen.regression, "histogram"),
        "regression": api.load_translator(chosen.regression),
    }
    if chosen.diffusion:
        for level in edit_levels:
            found[f"sdedit {level}"] = api.load_translator(
                chosen.diffusion, "sdedit", edit_from=level
            )
        found["lmi-diffusion corrected"] = api.load_translator(chosen.diffusion)
    shipped = [Method(name, translator) for name, translator in found.items()]
    more = load_methods(chosen.model, api.load_segmenter(chosen.segmenter)) if chosen.model else []
    return shipped + [method for method in more if method.name != FLOOR]


def judge_all(case: Case, compared: Sequence[Method], segmenter: Segmenter) -> list[dict[str, Any]]:
    """The rows of one case: those of every method that knows its source, and the real target's."""
    knowing = [method for method in compared if method.knows(case.source.modality)]
    rows = [judge(case, method, segmenter).row for method in knowing]
    return [*rows, judge_real(case).row]


def show(title: str, lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print the summary as a table."""
    table = Table(title=title)
    for name in ("pair", "method", *columns):
        table.add_column(name, justify="left" if name in ("pair", "method") else "right")
    for line in lines:
        table.add_row(line["pair"], line["method"], *(_cell(line.get(name)) for name in columns))
    Console(width=200).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        low_high = value.get("interval")
        span = f" [{low_high[0]:.3g}, {low_high[1]:.3g}]" if low_high else ""
        return f"{value['mean']:.3g}{span}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def rows_before(name: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of benchmarks/results/<name>.json, if they are of these settings: to go on from."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    # Written and read again, as what is in the file was.
    same = before["settings"] == json.loads(json.dumps(dict(settings)))
    return before["rows"] if same else []


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
    path = RESULTS / f"{name}.json"
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    files.write_text(path, text, overwrite=True)
    print(f"saved {path.name}")
    return path
