"""The demonstration: translate, segment and score a digital brain that no model was trained on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import chiasm
from chiasm import files
from chiasm.image.foreground import foreground_mask
from chiasm.image.intensity import on_unit_range
from chiasm.image.modality import modality_name
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.device import Resources
from chiasm.methods.load import load_translator
from chiasm.page import Row, write_page
from chiasm.page.words import structure_title
from chiasm.phantom import Settings, write_dataset
from chiasm.pipeline import Pipeline, Result
from chiasm.scoring.image import image_scores
from chiasm.scoring.labels import label_scores
from chiasm.scoring.statistics import gap_closure
from chiasm.segmenters.load import load_segmenter

_SUBJECT = "sub-01"
# Titles of the columns on the page and on the terminal, and the format of their numbers.
_TITLES = {
    "source": ("Source", ""),
    "method": ("Method", ""),
    "psnr_db": ("PSNR, dB", ".1f"),
    "ssim": ("SSIM", ".3f"),
    "dice": ("Dice, mean", ".3f"),
    "gap_closed": ("Gap closed (G)", ".2f"),
    "seconds": ("Time, s", ".1f"),
}


def demonstrate(
    output: Path,
    *,
    sources: Sequence[str] = ("PD", "T2"),
    methods: Sequence[str] = ("none", "histogram", "lmi-diffusion", "regression"),
    seed: int = 2026,
    spacing: float = 2.0,
    device: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a digital brain, translate and segment it, and write scores.json and report.html.

    Parameters
    ----------
    output : Path
        The folder for ``phantom/`` (BIDS), ``translated/``, ``scores.json`` and ``report.html``.
    sources : sequence of str
        Modalities to translate from.
    methods : sequence of str
        Methods of `chiasm info`, each run with the shipped model that suits. The results of the
        last method are written as files.
    seed : int
        Seed of the digital brain. The shipped models were trained on other seeds.
    spacing : float
        Voxel size of the digital brain in mm.
    device : str
        As in `chiasm.machine.device.resolve_device`.
    overwrite : bool
        Whether an earlier demonstration is replaced.

    Returns
    -------
    dict
        The content of scores.json.
    """
    scores, page = output / "scores.json", output / "report.html"
    for path in (scores, page):
        files.check_output(path, overwrite)
    start = time.perf_counter()
    resources = Resources(device=device)
    segmenter = load_segmenter(resources=resources)
    pipelines = {
        name: Pipeline(load_translator(method=name, resources=resources), segmenter)
        for name in methods
    }
    target = str(segmenter.modality)
    names = [modality_name(name) for name in sources]
    settings = Settings(modalities=(target, *names), spacing=spacing)
    write_dataset(output / "phantom", 1, seed, settings, overwrite=overwrite)
    anat = output / "phantom" / _SUBJECT / "anat"
    truth = files.read_labels(anat / f"{_SUBJECT}_dseg.nii.gz")
    real = files.read(anat / f"{_SUBJECT}_{target}.nii.gz")
    ceiling = Pipeline(segmenter=segmenter)(real)
    assert ceiling.labels is not None
    made = time.perf_counter() - start

    table = [_line("", f"real {target}", ceiling, None, truth)]
    rows = []
    for name in names:
        results = {
            method: pipeline(anat / f"{_SUBJECT}_{name}.nii.gz")
            for method, pipeline in pipelines.items()
        }
        table += [_line(name, method, one, real, truth) for method, one in results.items()]
        last = results[methods[-1]]
        stem = output / "translated" / f"{_SUBJECT}_desc-from{name}"
        written = {
            f"{stem}_{target}": last.translation,
            f"{stem}_dseg": last.labels,
            f"{stem}err_{target}": last.expected_error,
        }
        for place, image in written.items():
            if image is not None:
                files.write(image, f"{place}.nii.gz", overwrite=overwrite, synthetic=True)
        rows += [
            _pictures(f"{name} → {target}, {method}", one, real, truth)
            for method, one in results.items()
            if pipelines[method].translator.reads_weights  # type: ignore[union-attr]
        ]
    _add_gap(table, label_scores(ceiling.labels, truth).dice)

    models = {name: one.settings()["model"] for name, one in pipelines.items()}
    result = {
        "chiasm": chiasm.__version__,
        "models": models,
        "segmenter": segmenter.name,
        "phantom": {"seed": seed, "spacing_mm": spacing},
        "scores": table,
        "seconds": {"phantom": round(made, 1), "all": round(time.perf_counter() - start, 1)},
    }
    files.write_text(scores, json.dumps(result, indent=2) + "\n", overwrite=overwrite)
    write_page(
        page,
        "Chiasm: segmentation of an unseen modality",
        lead=(
            f"A digital brain that no model was trained on was scanned as {' and '.join(names)}. "
            f"The translators and the segmenter were trained on {target} only. The gap closed (G) "
            "is 0 for the segmentation of the untranslated source and 1 for that of the real "
            f"{target}. The default method is regression, which does not use local mutual "
            "information; lmi-diffusion uses it."
        ),
        rows=rows,
        tables={"Scores": shown_table(table)},
        settings={
            "Version": chiasm.__version__,
            "Segmenter": segmenter.name,
            "Digital brain": f"seed {seed}, voxels of {spacing:g} mm",
            "Time": f"{result['seconds']['all']} s, of which {result['seconds']['phantom']} s "  # type: ignore[index]
            "were needed for the digital brain",
        }
        | {f"Model of the method {name}": model for name, model in models.items()},
        overwrite=overwrite,
    )
    return result


def _line(
    source: str, method: str, made: Result, real: Volume | None, truth: LabelVolume
) -> dict[str, Any]:
    """One line of the table. Without ``real``, the source is the real image itself."""
    assert made.labels is not None
    tissue = label_scores(made.labels, truth)
    line: dict[str, Any] = {"source": source, "method": method, "psnr_db": None, "ssim": None}
    if real is not None:
        assert made.translation is not None
        mask = foreground_mask(real)
        found = image_scores(on_unit_range(made.translation, mask), on_unit_range(real, mask), mask)
        line |= {"psnr_db": found.psnr, "ssim": found.ssim}
    line |= {f"dice_{one.name}": one.dice for one in tissue.labels}
    parts = ("translation", "segmentation")
    seconds = sum(made.record[part]["cost"]["seconds"] for part in parts if part in made.record)
    return line | {"dice": tissue.dice, "seconds": round(seconds, 2)}


def _add_gap(table: list[dict[str, Any]], ceiling: float) -> None:
    untranslated = {line["source"]: line["dice"] for line in table if line["method"] == "none"}
    for line in table:
        lowest = untranslated.get(line["source"])
        line["gap_closed"] = None if lowest is None else gap_closure(line["dice"], lowest, ceiling)


def shown_table(table: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The table with readable titles, and numbers as text."""
    return [{_title(key): _text(key, value) for key, value in line.items()} for line in table]


def _title(key: str) -> str:
    if key.startswith("dice_"):
        return f"Dice, {structure_title(key.removeprefix('dice_'))}"
    return _TITLES[key][0]


def _text(key: str, value: Any) -> str:
    form = ".3f" if key.startswith("dice_") else _TITLES[key][1]
    return "" if value is None else f"{value:{form}}"


def _pictures(title: str, made: Result, real: Volume, truth: LabelVolume) -> Row:
    assert made.translation is not None
    assert made.labels is not None
    error = real.with_array(np.abs(made.translation.array - real.array))
    return Row(
        title,
        {
            f"source {made.source.modality}": made.source,
            f"translated {real.modality}": made.translation,
            f"real {real.modality}": real,
            "segmentation": made.labels,
            "truth": truth,
            "error |translated − real|": error,
        },
    )


def print_table(table: Sequence[dict[str, Any]]) -> None:
    """Print the table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    shown = shown_table(table)
    view = Table()
    for column in shown[0]:
        view.add_column(column, justify="left" if column in ("Source", "Method") else "right")
    for line in shown:
        view.add_row(*line.values())
    Console(width=140).print(view)
