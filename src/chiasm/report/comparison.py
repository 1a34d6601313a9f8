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
_TRAINED = "trained_on"
_NARROWEST = 160  # pixels of a picture in the grid, so that names fit above it
_COLUMNS = {  # title, and how its numbers are shown
    "psnr": ("PSNR, dB", ".1f"),
    "ssim": ("SSIM", ".3f"),
    "mae": ("MAE", ".3f"),
    "dice_": ("Dice", ".3f"),  # one column for each structure
    "dice": ("Dice, mean", ".3f"),
    "gap_closed": ("G", ".2f"),
    "hd95": ("HD95, mm", ".2f"),
    "assd": ("ASSD, mm", ".2f"),
    "slice_jump": ("slice jump", ".2f"),
    "seconds": ("s", ".3g"),
    "seconds_per_slice": ("s/slice", ".3g"),
    "memory_mb": ("MiB", ".0f"),
}
# On a terminal there is room for these columns, and for the intervals of two.
_ON_TERMINAL = (
    "psnr", "ssim", "dice_", "dice", "gap_closed", "hd95", "slice_jump", "seconds_per_slice",
)  # fmt: skip
_INTERVALS = ("dice", "gap_closed")


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
        "segmentation; under the source what segmentations are compared with.",
        rows=rows,
        tables=_tables(result, (*_COLUMNS, _TRAINED), tuple(_COLUMNS)),
        settings=result["settings"] | {"versions": result["versions"]},
        overwrite=True,
    )


def print_tables(result: Mapping[str, Any]) -> None:
    """Print the most of it on the terminal, one table for each pair."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    for title, lines in _tables(result, _ON_TERMINAL, _INTERVALS).items():
        view = Table(title=title, title_justify="left")
        for column in lines[0]:
            view.add_column(column, justify="left" if column == "method" else "right")
        for line in lines:
            view.add_row(*line.values())
        console.print(view)
    console.print(_about(result))


def draw_source(folder: Path, session: str, case: Case) -> None:
    """Draw the source of a case, and what segmentations are compared with."""
    index = best_slice(case.source, case.mask)
    picture = slice_picture(case.on_unit_range(case.source), index, (0, 1))
    reference = slice_picture(case.reference, index, (0, 1))
    blank = Image.new("RGB", picture.size)
    _save(_stack([picture, blank, reference]), _path(folder, session, case.pair, _SOURCE))


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
    panels = [{name: _enlarged(panel) for name, panel in row.panels.items()} for row in rows]
    width = max((one.width for line in panels for one in line.values()), default=1) + _EDGE
    size = max(12, width // 16)
    font, text_height = ImageFont.load_default(size), size + 2 * _EDGE
    heights = [max(one.height for one in line.values()) + _EDGE + text_height for line in panels]
    grid = Image.new("RGB", (width * max(1, len(columns)), sum(heights) + text_height))
    write = ImageDraw.Draw(grid)
    for k, name in enumerate(columns):
        write.text((k * width, _EDGE), name, font=font, fill="white")
    top = text_height
    for row, line, height in zip(rows, panels, heights, strict=True):
        # The font has no arrow.
        write.text((0, top), row.title.replace("→", " to "), font=font, fill="white")
        for name, panel in line.items():
            grid.paste(panel, (columns.index(name) * width, top + text_height))
        top += height
    return grid


def _enlarged(panel: Any) -> Image.Image:
    """By a whole factor, so that voxels stay squares."""
    factor = -(-_NARROWEST // panel.width)
    return panel.resize((panel.width * factor, panel.height * factor), Image.Resampling.NEAREST)


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


def _tables(
    result: Mapping[str, Any], columns: Sequence[str], intervals: Sequence[str]
) -> dict[str, list[dict[str, str]]]:
    """A table of text for each pair; ``intervals`` are the columns that show theirs."""
    target, summary = result["settings"]["target"], result["summary"]
    truth = result["settings"]["reference"] == "label maps"
    what = "accuracy" if truth else f"agreement with the real {target}"
    tables: dict[str, list[dict[str, str]]] = {}
    for pair in dict.fromkeys(line["pair"] for line in summary):
        own = [line for line in summary if line["pair"] == pair]
        subjects = max(line["subjects"] for line in own)
        title = f"{pair}: {what}, {subjects} subject{'s' if subjects > 1 else ''}"
        tables[title] = [_shown(line, own, columns, intervals) for line in own]
    return tables


def _shown(
    line: Mapping[str, Any],
    table: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    intervals: Sequence[str],
) -> dict[str, str]:
    """One line of a table as text."""
    structures = dict.fromkeys(key for one in table for key in one if key.startswith("dice_"))
    shown = {"method": line["method"] + (" (best)" if line["best"] else "")}
    for column in (one for one in columns if one in _COLUMNS):
        title, form = _COLUMNS[column]
        if column == "dice_":
            for key in structures:
                name = f"{title} {key.removeprefix(column)}"
                shown[name] = _cell(line.get(key), form, column in intervals)
        else:
            shown[title] = _cell(line.get(column), form, column in intervals)
    shown["Dice − best"] = _difference(line.get("against_best"))
    if _TRAINED in columns:
        shown["trained on"] = line.get(_TRAINED) or ""
    return shown


def _cell(value: Mapping[str, Any] | None, form: str, with_interval: bool) -> str:
    if value is None:
        return ""
    if value["mean"] is None:
        return "∞"
    interval = value.get("interval") if with_interval else None
    span = f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""
    return f"{value['mean']:{form}}{span}"


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
