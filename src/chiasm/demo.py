"""The demonstration: a digital brain no training has seen, translated, segmented, judged."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import chiasm
from chiasm import api, files
from chiasm.evaluation.image import image_scores
from chiasm.evaluation.labels import label_scores
from chiasm.evaluation.statistics import gap_closure
from chiasm.head import head_mask
from chiasm.intensity import on_unit_range
from chiasm.modality import modality_name
from chiasm.phantom import Settings, write_dataset
from chiasm.report import Row, write_page
from chiasm.volume import LabelVolume, Volume

_SUBJECT = "sub-01"


def demonstrate(
    output: Path,
    *,
    sources: Sequence[str] = ("PD", "T2"),
    methods: Sequence[str] = ("none", "histogram"),
    seed: int = 2026,
    spacing: float = 2.0,
    device: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a phantom, translate and segment it, and write scores.json and report.html.

    Parameters
    ----------
    output : Path
        Folder; gets ``phantom/`` (BIDS), ``translated/``, ``scores.json`` and ``report.html``.
    sources : sequence of str
        Modalities to translate from.
    methods : sequence of str
        Compared with the default model, by the names of `chiasm info`.
    seed : int
        Of the phantom; none of those the shipped models were trained on.
    spacing : float
        Of the phantom, mm.
    device : str
        As in `chiasm.device.resolve_device`.
    overwrite : bool
        Replace an earlier demonstration.

    Returns
    -------
    dict
        What scores.json holds.
    """
    scores, page = output / "scores.json", output / "report.html"
    for path in (scores, page):
        files.check_output(path, overwrite)
    start = time.perf_counter()
    default = api.load_translator(device=device)
    judge = api.load_segmenter(device=device)
    target = default.model.config.target
    names = [modality_name(name) for name in sources]
    settings = Settings(modalities=(target, *names), spacing=spacing)
    write_dataset(output / "phantom", 1, seed, settings, overwrite=overwrite)
    anat = output / "phantom" / _SUBJECT / "anat"
    truth = files.read_labels(anat / f"{_SUBJECT}_dseg.nii.gz")
    real = files.read(anat / f"{_SUBJECT}_{target}.nii.gz")
    ceiling = judge.segment(real).labels
    ceiling_dice = label_scores(ceiling, truth).dice
    made = time.perf_counter() - start

    table, rows = [_line("", f"real {target}", real, real, ceiling, truth, 0.0)], []
    for name in names:
        source = files.read(anat / f"{_SUBJECT}_{name}.nii.gz")
        compared = [*methods, default.model.config.method]
        for method in compared:
            chosen = api.load_translator(
                None if method != default.model.config.method else default.model.name,
                method,
                device=device,
            )
            before = time.perf_counter()
            image = chosen.translate(source).volume
            labels = judge.segment(image).labels
            seconds = time.perf_counter() - before
            table.append(_line(name, method, image, real, labels, truth, seconds))
        stem = output / "translated" / f"{_SUBJECT}_desc-from{name}"
        files.write(image, f"{stem}_{target}.nii.gz", overwrite=overwrite, synthetic=True)
        files.write(labels, f"{stem}_dseg.nii.gz", overwrite=overwrite, synthetic=True)
        rows.append(_pictures(name, source, image, real, labels, truth))
    _add_gap(table, ceiling_dice)

    result = {
        "chiasm": chiasm.__version__,
        "model": default.model.name,
        "segmenter": judge.model.name,
        "phantom": {"seed": seed, "spacing_mm": spacing},
        "scores": table,
        "seconds": {"phantom": round(made, 1), "all": round(time.perf_counter() - start, 1)},
    }
    files.write_text(scores, json.dumps(result, indent=2) + "\n", overwrite=overwrite)
    write_page(
        page,
        "Chiasm: an unseen modality in, its segmentation out",
        lead=(
            f"A digital brain that no training has seen, scanned as {' and '.join(names)}. The "
            f"translator and the segmenter have only ever seen {target}. G is the share of the gap "
            f"between segmenting the source as it is (none) and segmenting the real {target}."
        ),
        rows=rows,
        tables={"Scores": [_shown(line) for line in table]},
        settings={key: value for key, value in result.items() if key != "scores"},
        overwrite=overwrite,
    )
    return result


def _line(
    source: str,
    method: str,
    image: Volume,
    real: Volume,
    labels: LabelVolume,
    truth: LabelVolume,
    seconds: float,
) -> dict[str, Any]:
    tissue = label_scores(labels, truth)
    line: dict[str, Any] = {"source": source, "method": method}
    if image is not real:
        mask = head_mask(real)
        score = image_scores(on_unit_range(image, mask), on_unit_range(real, mask), mask)
        line |= {"psnr_db": score.psnr, "ssim": score.ssim}
    else:
        line |= {"psnr_db": None, "ssim": None}
    line |= {f"dice_{one.name}": one.dice for one in tissue.labels}
    return line | {"dice": tissue.dice, "seconds": round(seconds, 2)}


def _add_gap(table: list[dict[str, Any]], ceiling: float) -> None:
    untranslated = {line["source"]: line["dice"] for line in table if line["method"] == "none"}
    for line in table:
        lowest = untranslated.get(line["source"])
        line["gap_closed"] = None if lowest is None else gap_closure(line["dice"], lowest, ceiling)


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    return {
        key: "" if value is None else f"{value:.3f}" if isinstance(value, float) else value
        for key, value in line.items()
    }


def _pictures(
    name: str,
    source: Volume,
    image: Volume,
    real: Volume,
    labels: LabelVolume,
    truth: LabelVolume,
) -> Row:
    error = real.with_array(np.abs(image.array - real.array))
    target = real.modality
    return Row(
        f"{name} → {target}",
        {
            f"source {name}": source,
            f"translated {target}": image,
            f"real {target}": real,
            "segmentation": labels,
            "truth": truth,
            "error |translated − real|": error,
        },
    )


def print_table(table: Sequence[dict[str, Any]]) -> None:
    """Print rows that share their columns as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    shown = [_shown(line) for line in table]
    view = Table()
    for column in shown[0]:
        view.add_column(column, justify="left" if column in ("source", "method") else "right")
    for line in shown:
        view.add_row(*map(str, line.values()))
    Console(width=140).print(view)
