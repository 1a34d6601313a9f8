"""What the benchmarks share: judge translators on cases, sum up over subjects, print, save."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import chiasm
from chiasm import api, files
from chiasm.evaluation.image import image_scores
from chiasm.evaluation.labels import label_scores
from chiasm.evaluation.statistics import bootstrap_interval
from chiasm.intensity import on_unit_range
from chiasm.segmenters import Segmenter
from chiasm.translators import Translator
from chiasm.volume import LabelVolume, Volume

RESULTS = Path(__file__).parent / "results"
Translate = Callable[[Volume, np.ndarray], Volume]


@dataclass(frozen=True)
class Case:
    """One source image, the real target on the same grid, and the reference segmentation."""

    subject: str
    source: Volume
    real: Volume
    truth: LabelVolume
    mask: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def pair(self) -> str:
        return f"{self.source.modality}→{self.real.modality}"


def add_methods(parser: argparse.ArgumentParser, save: str) -> None:
    """The options that say which models are compared, and under which name results are saved."""
    parser.add_argument("--regression", default="brain-t1")
    parser.add_argument("--diffusion", default="brain-t1-lmi")
    parser.add_argument("--segmenter", default="brain-t1-tissue")
    parser.add_argument("--model", action="append", default=[], help="more models, NAME=FOLDER")
    parser.add_argument("--save", default=save)


def methods(chosen: argparse.Namespace, edit_levels: Sequence[float]) -> dict[str, Translator]:
    """The translators that the options of `add_methods` name, SDEdit at each of its levels."""
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
    for pair in chosen.model:
        name, _, folder = pair.partition("=")
        found[name] = api.load_translator(Path(folder))
    return found


def judge(
    case: Case, method: str, translate: Translate | None, segmenter: Segmenter
) -> dict[str, Any]:
    """Scores of one method on one case; ``translate`` None judges the real target image.

    PSNR and SSIM compare both images on [0, 1], each laid there by its own percentiles.
    """
    start = time.perf_counter()
    image = case.real if translate is None else translate(case.source, case.mask)
    seconds = time.perf_counter() - start
    labels = segmenter.segment(image, case.mask).labels
    tissue = label_scores(labels, case.truth)
    row: dict[str, Any] = {"pair": case.pair, "method": method, "subject": case.subject}
    if translate is None:
        row |= {"psnr": None, "ssim": None}
    else:
        unit = [on_unit_range(one, case.mask) for one in (image, case.real)]
        score = image_scores(*unit, case.mask)
        row |= {"psnr": score.psnr, "ssim": score.ssim}
    row |= {f"dice_{one.name}": one.dice for one in tissue.labels}
    slices = int(case.mask.any(axis=(0, 1)).sum())
    return row | {"dice": tissue.dice, "seconds_per_slice": seconds / slices} | case.facts


def summarise(rows: Sequence[Mapping[str, Any]], ceiling: str, floor: str) -> list[dict[str, Any]]:
    """One line for each pair and method: means, 95 % bootstrap intervals, and the gap closed.

    G = (Dice − Dice of ``floor``) / (Dice of ``ceiling`` − Dice of ``floor``), of the means over
    the subjects.
    """
    lines = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        here = [row for row in rows if row["pair"] == pair]
        mean = {
            method: float(np.mean([row["dice"] for row in here if row["method"] == method]))
            for method in dict.fromkeys(row["method"] for row in here)
        }
        for method in mean:
            own = [row for row in here if row["method"] == method]
            line: dict[str, Any] = {"pair": pair, "method": method, "subjects": len(own)}
            for key in own[0]:
                values = [row[key] for row in own]
                if key in ("pair", "method", "subject") or not all(
                    isinstance(value, float) for value in values
                ):
                    continue
                line[key] = {"mean": float(np.mean(values))}
                if key != "seconds_per_slice" and len(values) > 1:
                    line[key]["interval"] = list(bootstrap_interval(values))
            if ceiling in mean and floor in mean:
                line["gap_closed"] = (mean[method] - mean[floor]) / (mean[ceiling] - mean[floor])
            lines.append(line)
    return lines


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
