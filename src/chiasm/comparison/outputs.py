"""The outputs of a comparison: CSV and JSON files, the page, the picture grid, terminal tables."""

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
from chiasm.comparison.cases import Case
from chiasm.comparison.score import Scored
from chiasm.page.words import in_words, structure_title
from chiasm.page.write import Row, best_slice, slice_picture, write_page

TABLE, ROWS, RESULT, GRID, PAGE = (
    "table.csv", "rows.csv", "compare.json", "pictures.png", "report.html",
)  # fmt: skip
OUTPUTS = (TABLE, ROWS, RESULT, GRID, PAGE)
PICTURES = "pictures"
LABEL_MAPS = "label maps"  # the reference, where the subjects have label maps
_SOURCE = "source"
_WORST = 0.5  # an error of this share of the intensity range is drawn white
_EDGE = 4  # pixels between pictures
_TRAINED = "trained_on"
_METHOD = "Method"
_NARROWEST = 160  # smallest width of a picture in the grid, so that names fit above it
_COLUMNS = {  # title, and number format
    "psnr": ("PSNR, dB", ".1f"),
    "ssim": ("SSIM", ".3f"),
    "mae": ("MAE, share of the intensity range", ".3f"),
    "dice_": ("Dice", ".3f"),  # one column for each structure
    "dice": ("Dice, mean", ".3f"),
    "gap_closed": ("Gap closed (G)", ".2f"),
    "hd95": ("HD95, mm", ".2f"),
    "assd": ("ASSD, mm", ".2f"),
    "sharpness": ("Sharpness", ".2f"),
    "slice_jump": ("Slice jump", ".2f"),
    "seconds": ("Time, s", ".3g"),
    "seconds_per_slice": ("Time per slice, s", ".3g"),
    "memory_mb": ("Peak memory, MiB", ".0f"),
}
# A terminal has room for these columns, and for the intervals of two of them.
_ON_TERMINAL = (
    "psnr", "ssim", "dice_", "dice", "gap_closed", "hd95", "slice_jump", "seconds_per_slice",
)  # fmt: skip
_INTERVALS = ("dice", "gap_closed")


def write_all(folder: Path, result: Mapping[str, Any], shown: Sequence[str]) -> None:
    """Write every file of a comparison except the single pictures.

    Parameters
    ----------
    folder : Path
        The folder of the comparison. Files of an earlier comparison are replaced.
    result : mapping
        What `chiasm.comparison.run.compare` returns.
    shown : sequence of str
        The sessions whose pictures (`draw`) are shown.
    """
    flat = [_flat(line) for line in result["summary"]]
    files.write_text(folder / TABLE, _csv(flat), overwrite=True)
    files.write_text(folder / ROWS, _csv(result["rows"]), overwrite=True)
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files.write_text(folder / RESULT, text, overwrite=True)
    rows = _picture_rows(folder / PICTURES, result, shown)
    grid = _grid(rows)
    with files.atomic(folder / GRID) as draft:
        grid.save(draft, "PNG", optimize=True, pnginfo=files.png_mark())
    target = result["settings"]["target"]
    write_page(
        folder / PAGE,
        f"Comparison of translations to {target}",
        lead=f"{_about(result)} Square brackets hold 95 % bootstrap intervals over subjects. The "
        "gap closed (G) is 0 for the segmentation of the untranslated source (none) and 1 for that "
        f"of the real {target}. The slice jump is the mean difference between neighbouring slices, "
        "and the sharpness that of neighbouring voxels within slices. Both are divided by those of "
        "the real image. Each picture shows the image, its error and its "
        f"segmentation from top to bottom. An error of {_WORST:g} of the intensity range is white. "
        "The lowest picture of the source is the reference that segmentations are compared with.",
        rows=rows,
        tables=_tables(result, (*_COLUMNS, _TRAINED), tuple(_COLUMNS)) | _warned(result),
        settings=_settings(result),
        overwrite=True,
    )


def _settings(result: Mapping[str, Any]) -> dict[str, str]:
    """The settings as titles and readable lines."""
    settings, versions = result["settings"], result["versions"]
    lines = {
        "Version": f"Chiasm {result['chiasm']}",
        "Data": settings["input"],
        "Target modality": settings["target"],
        "Source modalities": in_words(settings["sources"]),
        "Reference": settings["reference"],
        "Slices": _slices(settings["slices"]),
        "Segmenter": _identity(settings["segmenter"]),
    }
    lines |= {f"Method {name}": _identity(one) for name, one in result["methods"].items()}
    return lines | {
        "Seed": in_words(settings["seed"]),
        "Batch size": in_words(settings["batch"]),
        "Device": settings["device"],
        "Image scores": settings["image scores"],
        "Foreground": settings["foreground"],
        "Time": settings["seconds"],
        "Memory": re.sub(r" \([^)]*\)", "", settings["memory"]),
        "Software": ", ".join(f"{name} {one}" for name, one in versions.items()),
    }


def _identity(identity: Mapping[str, Any]) -> str:
    """A method or segmenter: its name, its model with the start of a hash, and its options."""
    facts = dict(identity)
    if isinstance(own := facts.pop("segmenter", None), Mapping):
        return f"segments the source itself, {_identity(own)}"
    name = facts.pop("name", None) or facts.pop("method", None)
    model = facts.pop("model", None)
    parts = [name, model and f"model {model}", in_words(facts)]
    return ", ".join(str(part) for part in parts if part)


def print_tables(result: Mapping[str, Any]) -> None:
    """Print the main columns on the terminal, with one table for each pair of modalities."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    for title, lines in _tables(result, _ON_TERMINAL, _INTERVALS).items():
        view = Table(title=title, title_justify="left")
        for column in lines[0]:
            left = column == _METHOD
            view.add_column(column, justify="left" if left else "right", overflow="fold")
        for line in lines:
            view.add_row(*line.values())
        console.print(view)
    console.print(_about(result))


def draw_source(folder: Path, session: str, case: Case) -> None:
    """Draw the source of a case, and the reference that segmentations are compared with."""
    index = best_slice(case.source, case.mask)
    picture = slice_picture(case.on_unit_range(case.source), index, (0, 1))
    reference = slice_picture(case.reference, index, (0, 1))
    blank = Image.new("RGB", picture.size)
    _save(_stack([picture, blank, reference]), _path(folder, session, case.pair, _SOURCE))


def draw(folder: Path, session: str, case: Case, scored: Scored) -> None:
    """Draw the image, error and segmentation of a method in the fullest axial slice."""
    index = best_slice(case.source, case.mask)
    labels = slice_picture(scored.labels, index, (0, 1))
    image = error = Image.new("RGB", labels.size)
    if scored.image is not None:
        made = case.on_unit_range(scored.image)
        image = slice_picture(made, index, (0, 1))
        if scored.image is not case.real:
            away = made.with_array(np.abs(made.array - case.real_on_unit_range.array))
            error = slice_picture(away, index, (0, _WORST))
    path = _path(folder, session, case.pair, scored.row["method"])
    _save(_stack([image, error, labels]), path)


def _path(folder: Path, *names: str) -> Path:
    parts = [re.sub(r"[^\w.@=-]+", "-", name) for name in names]
    return folder / f"{'_'.join(parts)}.png"


def _save(picture: Image.Image, path: Path) -> None:
    with files.atomic(path) as draft:
        picture.save(draft, "PNG", optimize=True, pnginfo=files.png_mark())


def _stack(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    stack = Image.new("RGB", (width, (height + _EDGE) * len(pictures) - _EDGE))
    for k, picture in enumerate(pictures):
        stack.paste(picture, (0, k * (height + _EDGE)))
    return stack


def _picture_rows(folder: Path, result: Mapping[str, Any], shown: Sequence[str]) -> list[Row]:
    """One row for each session and pair of modalities: the source, then every method."""
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
    """All pictures in one, with a row for each case, a column for each method, and their names."""
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
    """Enlarge a picture by a whole factor, so that voxels stay squares."""
    factor = -(-_NARROWEST // panel.width)
    return panel.resize((panel.width * factor, panel.height * factor), Image.Resampling.NEAREST)


def _about(result: Mapping[str, Any]) -> str:
    """What Dice means in this comparison, and how the comparison was made."""
    settings = result["settings"]
    target = settings["target"]
    against = (
        "accuracy against the label maps of the subjects"
        if settings["reference"] == LABEL_MAPS
        else f"agreement with the segmentation of the real {target}, not accuracy"
    )
    return (
        f"Dice, HD95 and ASSD measure {against}. The comparison used "
        f"{_slices(settings['slices'])} and the segmenter {settings['segmenter']['name']}."
    )


def _slices(slices: int | None) -> str:
    if slices is None:
        return "all slices"
    return f"{slices} evenly spaced axial slice{'s' * (slices != 1)}"


def _warned(result: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """A table of what looks wrong, if anything does."""
    lines = [{"What looks wrong": one} for one in result["warnings"]]
    return {"Warnings": lines} if lines else {}


def _tables(
    result: Mapping[str, Any], columns: Sequence[str], intervals: Sequence[str]
) -> dict[str, list[dict[str, str]]]:
    """A table of text for each pair. The columns in ``intervals`` show their intervals."""
    target, summary = result["settings"]["target"], result["summary"]
    truth = result["settings"]["reference"] == LABEL_MAPS
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
    shown = {_METHOD: line["method"] + (" (best)" if line["best"] else "")}
    for column in (one for one in columns if one in _COLUMNS):
        title, form = _COLUMNS[column]
        if column == "dice_":
            for key in structures:
                name = f"{title}, {structure_title(key.removeprefix(column))}"
                shown[name] = _cell(line.get(key), form, column in intervals)
        else:
            shown[title] = _cell(line.get(column), form, column in intervals)
    shown["Dice minus best Dice"] = _difference(line.get("against_best"))
    if _TRAINED in columns:
        shown["Trained on"] = line.get(_TRAINED) or ""
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
