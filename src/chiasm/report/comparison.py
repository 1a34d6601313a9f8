"""What a comparison leaves behind: tables, JSON, the page, the picture grid, the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from chiasm import files
from chiasm.evaluation.cases import Case
from chiasm.evaluation.judge import Judged
from chiasm.report.page import Row, best_slice, slice_picture, write_page

TABLE, ROWS, RESULT, GRID, PAGE = (
    "table.csv", "rows.csv", "compare.json", "pictures.png", "report.html",
)  # fmt: skip
OUTPUTS = (TABLE, ROWS, RESULT, GRID, PAGE)
PICTURES = "pictures"
_SOURCE = "source"
_WORST = 0.5  # an error this large, of the range of intensities, is drawn white
_EDGE = 4  # pixels between pictures
_COLUMNS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "mae": "MAE",
    "dice": "Dice",
    "hd95": "HD95, mm",
    "assd": "ASSD, mm",
    "gap_closed": "G",
    "slice_jump": "slice jump",
    "seconds_per_slice": "s/slice",
    "memory_mb": "MiB",
}


def write_all(folder: Path, result: Mapping[str, Any], shown: Sequence[str]) -> None:
    """Write every file of a comparison but the single pictures.

    Parameters
    ----------
    folder : Path
        Of the comparison; files of an earlier one are replaced.
    result : mapping
        As `chiasm.evaluation.compare.compare` returns it.
    shown : sequence of str
        Sessions whose pictures (`draw`) are shown.
    """
    flat = [_flat(line) for line in result["summary"]]
    files.write_text(folder / TABLE, _csv(flat), overwrite=True)
    files.write_text(folder / ROWS, _csv(result["rows"]), overwrite=True)
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files.write_text(folder / RESULT, text, overwrite=True)
    rows = _picture_rows(folder / PICTURES, result, shown)
    grid = _grid(rows)
    with files.atomic(folder / GRID) as draft:
        grid.save(draft, "PNG", optimize=True)
    write_page(
        folder / PAGE,
        f"Translation to {result['settings']['target']}, compared",
        lead=f"{_about(result)} In brackets: 95 % bootstrap intervals over subjects. G is the "
        "share of the gap between segmenting the source as it is (none) and segmenting the real "
        f"{result['settings']['target']}. Slice jump: mean difference of neighbouring slices over "
        f"that of the real image. Pictures: image, error (white: {_WORST:g} of the range), "
        "segmentation.",
        rows=rows,
        tables=_tables(result),
        settings=result["settings"] | {"versions": result["versions"]},
        overwrite=True,
    )


def print_tables(result: Mapping[str, Any]) -> None:
    """Print one table for each pair on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 220)
    for title, lines in _tables(result).items():
        view = Table(title=title, title_justify="left")
        for column in lines[0]:
            view.add_column(column, justify="left" if column == "method" else "right")
        for line in lines:
            view.add_row(*line.values())
        console.print(view)
    console.print(_about(result))


def draw_source(folder: Path, session: str, case: Case) -> None:
    """Draw the source of a case, for the pictures of the comparison."""
    index = best_slice(case.source, case.mask)
    picture = slice_picture(case.on_unit_range(case.source), index, (0, 1))
    blank = Image.new("RGB", picture.size)
    _save(_stack([picture, blank, blank]), _path(folder, session, case.pair, _SOURCE))


def draw(folder: Path, session: str, case: Case, judged: Judged) -> None:
    """Draw what a method made: image, error and segmentation of the fullest axial slice."""
    index = best_slice(case.source, case.mask)
    labels = slice_picture(judged.labels, index, (0, 1))
    image = error = Image.new("RGB", labels.size)
    if judged.image is not None:
        made = case.on_unit_range(judged.image)
        image = slice_picture(made, index, (0, 1))
        if judged.image is not case.real:
            away = made.with_array(np.abs(made.array - case.real_on_unit_range.array))
            error = slice_picture(away, index, (0, _WORST))
    path = _path(folder, session, case.pair, judged.row["method"])
    _save(_stack([image, error, labels]), path)


def _path(folder: Path, *names: str) -> Path:
    parts = [re.sub(r"[^\w.@=-]+", "-", name) for name in names]
    return folder / f"{'_'.join(parts)}.png"


def _save(picture: Image.Image, path: Path) -> None:
    with files.atomic(path) as draft:
        picture.save(draft, "PNG", optimize=True)


def _stack(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    stack = Image.new("RGB", (width, (height + _EDGE) * len(pictures) - _EDGE))
    for k, picture in enumerate(pictures):
        stack.paste(picture, (0, k * (height + _EDGE)))
    return stack


def _picture_rows(folder: Path, result: Mapping[str, Any], shown: Sequence[str]) -> list[Row]:
    """One row for each session shown and each of its pairs: the source, then every method."""
    rows = []
    for session in shown:
        for pair in dict.fromkeys(line["pair"] for line in result["summary"]):
            names = [line["method"] for line in result["summary"] if line["pair"] == pair]
            panels = {
                name: Image.open(path)
                for name in (_SOURCE, *names)
                if (path := _path(folder, session, pair, name)).is_file()
            }
            if panels:
                rows.append(Row(f"{session}, {pair}", panels))
    return rows


def _grid(rows: Sequence[Row]) -> Image.Image:
    """All pictures in one: a row for each case, a column for each method, with their names."""
    columns = list(dict.fromkeys(name for row in rows for name in row.panels))
    panels = [[row.panels.get(name) for name in columns] for row in rows]
    width = max((one.width for line in panels for one in line if one), default=1) + _EDGE
    size = max(10, width // 12)
    font, line_height = ImageFont.load_default(size), size + 2 * _EDGE
    heights = [max(one.height for one in line if one) + _EDGE + line_height for line in panels]
    grid = Image.new("RGB", (width * len(columns) or 1, sum(heights) + line_height))
    write = ImageDraw.Draw(grid)
    for k, name in enumerate(columns):
        write.text((k * width, _EDGE), name, font=font, fill="white")
    top = line_height
    for row, line, height in zip(rows, panels, heights, strict=True):
        write.text((0, top), row.title, font=font, fill="white")
        for k, panel in enumerate(line):
            if panel is not None:
                grid.paste(panel, (k * width, top + line_height))
        top += height
    return grid


def _about(result: Mapping[str, Any]) -> str:
    """What Dice is in this comparison, and how it was made."""
    settings = result["settings"]
    target, slices = settings["target"], settings["slices"]
    truth = settings["reference"] == "label maps"
    against = "accuracy, against the subjects' label maps" if truth else _agreement(target)
    shown = "all slices" if slices is None else f"{slices} evenly spaced axial slices"
    return f"Dice, HD95 and ASSD are {against}; {shown}; segmenter {settings['segmenter']}."


def _agreement(target: str) -> str:
    return f"agreement with the segmentation of the real {target}, not accuracy"


def _tables(result: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    target = result["settings"]["target"]
    truth = result["settings"]["reference"] == "label maps"
    what = "accuracy" if truth else f"agreement with the real {target}"
    tables: dict[str, list[dict[str, str]]] = {}
    for line in result["summary"]:
        subjects = max(one["subjects"] for one in result["summary"] if one["pair"] == line["pair"])
        title = f"{line['pair']}: {what}, {subjects} subject{'s' if subjects > 1 else ''}"
        tables.setdefault(title, []).append(_shown(line, result["summary"]))
    return tables


def _shown(line: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One line of a table as text."""
    structures = dict.fromkeys(key for one in summary for key in one if key.startswith("dice_"))
    columns = {}
    for key, title in _COLUMNS.items():
        if key == "dice":
            columns |= {name: f"Dice {name.removeprefix('dice_')}" for name in structures}
        columns[key] = title
    shown = {"method": line["method"] + (" (best)" if line["best"] else "")}
    shown |= {title: _cell(line.get(key)) for key, title in columns.items()}
    return shown | {
        "Dice − best": _difference(line.get("against_best")),
        "trained on": line.get("trained_on") or "",
    }


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    if value["mean"] is None:
        return "∞"
    interval = value.get("interval")
    known = interval is not None and None not in interval
    span = f" [{_number(interval[0])}, {_number(interval[1])}]" if interval and known else ""
    return f"{_number(value['mean'])}{span}"


def _number(value: float) -> str:
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:.{decimals}f}"


def _difference(test: Mapping[str, Any] | None) -> str:
    if test is None or test["difference"] is None:
        return ""
    span = test["interval"]
    between = "" if span is None else f" [{span[0]:.3f}, {span[1]:.3f}]"
    return f"{test['difference']:.3f}{between}, p {test['p']:.2g}"


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the summary with one value for each column."""
    flat: dict[str, Any] = {}
    for key, value in line.items():
        if not isinstance(value, Mapping):
            if key != "gap_closed":
                flat[key] = value
            continue
        for name, part in value.items():
            if name == "interval":
                low, high = part or (None, None)
                flat |= {f"{key}_low": low, f"{key}_high": high}
            else:
                flat[key if name == "mean" else f"{key}_{name}"] = part
    return flat


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
