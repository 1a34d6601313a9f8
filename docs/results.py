"""Figures and tables of the documentation, read from ``benchmarks/results/*.json``.

    python docs/results.py            # write the tables of README.md and of the model cards anew

The site's result pages are written at every build. The role ``result`` (`_ext/figures.py`) puts one
figure into a sentence by its path, see `figure`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WEIGHTS = ROOT / "src" / "chiasm" / "weights"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    key : str
        Of the summary's rows.
    title : str
        What stands above it, with its unit.
    digits : int
        Behind the decimal point.
    interval : bool
        Whether the interval is shown where the results have one.
    scale : float
        What values are multiplied by before they are shown.
    """

    key: str
    title: str
    digits: int = 2
    interval: bool = False
    scale: float = 1.0


DIFFERENCES = "differences"

COLUMNS = {
    column.key: column
    for column in (
        Column("psnr", "PSNR, dB", 1, True),
        Column("ssim", "SSIM", 2),
        Column("mae", "MAE", 3),
        Column("nmse", "NMSE", 3),
        Column("dice_csf", "Dice, CSF", 2),
        Column("dice_grey", "Dice, grey", 2),
        Column("dice_white", "Dice, white", 2),
        Column("dice", "Dice, mean", 3, True),
        Column("gap_closed", "G", 2, True),
        Column("hd95", "HD95, mm", 1),
        Column("assd", "ASSD, mm", 1),
        Column("slice_jump", "slice jump", 2),
        Column("slice_anisotropy", "slice jump, relative", 2),
        Column("seconds", "seconds", 2),
        Column("seconds_per_slice", "s per slice", 2),
        Column("memory_mb", "memory, MB", 0),
        Column("parameters", "parameters, millions", 1, scale=1e-6),
        Column("subjects", "subjects", 0),
        Column("trained_on", "trained on"),
        # LMI
        Column("shape", "image"),
        Column("patch", "patch", 0),
        Column("bins", "bins", 0),
        Column("threads", "threads", 0),
        Column("definition_seconds", "seconds, definition", 2),
        Column("torch_seconds", "seconds, plain torch", 4),
        Column("ratio", "times faster", 0),
        Column("share_of_peak", "share of float32 peak", 2),
        Column("map_correlation", "correlation of LMI(source, source) and LMI(T1, T1)", 2),
        Column("map_difference", "mean difference of these", 3),
        Column("source_map", "mean LMI(source, source)", 2),
        Column("target_map", "mean LMI(T1, T1)", 2),
        Column("agreement", "mean LMI(source, T1)", 2),
        # ALDM
        Column("sharpness", "sharpness", 2),
        Column("train_seconds", "seconds of training", 0),
        Column("spacing_mm", "voxel, mm", 0),
        Column("steps", "steps", 0),
        Column("weights_mb", "weights, MB", 0),
        Column("predicted_mb", "memory predicted, MB", 0),
        Column("pass_memory_mb", "memory of a training pass, MB", 0),
        # uncertainty
        Column("auroc", "AUROC", 2),
        Column("spearman", "rank correlation", 2),
        Column("diversity", "spread / error", 2),
        Column("wrong", "share of wrong voxels", 2),
        Column("psnr_single", "PSNR of one, dB", 1),
        Column("psnr_mean", "PSNR of the mean, dB", 1),
        Column("gain_db", "gain, dB", 1),
        Column("auroc_worst", "AUROC, worst tenth", 2),
        Column("expected_ratio", "expected / true error", 2),
        Column("images", "images", 0),
        Column("score", "translatability", 2),
        Column("warned", "images with a warning", 0),
        Column("dice_warned", "Dice of these", 3),
        Column("lesions", "lesions", 0),
        Column("visible", "visible in the real image", 0),
        Column("kept", "contrast kept", 1),
        Column("missed", "missed", 0),
        Column("false_positive", "false positives", 0),
    )
}

# Names that the results files use for methods → those that the documentation uses.
METHODS = {
    "lmi-diffusion corrected": "lmi-diffusion",
    "lmi-diffusion published": "lmi-diffusion, published operator",
    "published": "lmi-diffusion, published operator",
    "any-contrast": "contrast-agnostic segmenter",
    "joint": "regression, joint segmenter",
    "paired with detail transfer": "paired, with detail transfer",
    "aldm": "aldm",
    "estimate alone": "aldm, estimate alone",
    "loss guidance in 3D": "aldm with loss guidance, in 3D",
    "loss guidance by slices": "aldm with loss guidance, slice by slice",
    "random contrast": "aldm alone",
    "loss guidance": "gradient of LMI",
    "cpu": "numba, CPU",
    "uniform": "uniform bins",
    "quantile": "quantile bins",
    "all five": "all five losses",
}
_WORDS = (
    ("intensity mapping none", "no intensity mapping"),
    ("intensity mapping in refinement iterations", "intensity mapping"),
    ("detail transfer none", "no detail transfer"),
    ("detail transfer yes", "detail transfer"),
    ("late times", "timesteps biased to noise"),
    ("uniform times", "uniform timesteps"),
)


def method_name(name: str) -> str:
    """What the documentation calls a method of the results files."""
    if name in METHODS:
        return METHODS[name]
    for old, new in _WORDS:
        name = name.replace(old, new)
    return name


def load(name: str) -> dict[str, Any]:
    """One results file."""
    return _read(RESULTS / f"{name}.json")


@cache
def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(name: str, part: str | None = None) -> list[Row]:
    """The summary of a results file, or one part of it.

    The part of a summary that is a list is that of one measure; rows without a measure are
    differences.
    """
    summary = load(name)["summary"]
    if part is None or isinstance(summary, Mapping):
        rows = summary if part is None else summary[part]
    else:
        rows = [row for row in summary if row.get("measure", DIFFERENCES) == part]
    return [row if "pair" in row else row | {"pair": _compared(row)} for row in rows]


def _compared(row: Row) -> str:
    """What a row of foreign.json compares: the source, the set, the view and the segmenter."""
    parts = [f"{row[key]}" for key in ("source", "set", "view", "network") if row.get(key)]
    return ", ".join(parts)


def facts(name: str) -> dict[str, Any]:
    """What a page's sentences may name: the settings, and how many subjects were measured."""
    content = load(name)
    counted = [row["subjects"] for row in _flat(content["summary"]) if row.get("subjects")]
    if not counted:
        counted = [len({row.get("subject") for row in _flat(content["rows"])})]
    known = {"subjects": max(counted)} | {k: v for k, v in content["settings"].items() if v}
    return {**known, "threads": content["threads"]}


def _flat(summary: Any) -> Iterator[Row]:
    if isinstance(summary, Mapping):
        for part in summary.values():
            yield from part
    else:
        yield from summary


def shown(value: Any, column: Column, interval: bool | None = None) -> str:
    """One value as a table shows it; a value that was not measured is an empty cell."""
    span = None
    if isinstance(value, Mapping):
        span, value = value.get("interval"), value["mean"]
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    text = _rounded(value, column)
    if span and (column.interval if interval is None else interval):
        return f"{text} [{_rounded(span[0], column)}, {_rounded(span[1], column)}]"
    return text


def _rounded(value: float, column: Column) -> str:
    text = f"{value * column.scale:.{column.digits}f}"
    return re.sub(r"^-(0\.?0*)$", r"\1", text).replace("-", "−")


def figure(path: str) -> str:
    """One figure by its path.

    Parameters
    ----------
    path : str
        ``"fidelity/T2w→T1w/regression/psnr"``: file, pair, method and column; of a file whose
        summary has parts, the part follows the file. ``*`` stands for all pairs and gives the
        range. A last part ``/interval`` adds the interval, ``/%`` gives a percentage. Or
        ``"fidelity/settings/slices"``, one of `facts`.

    Raises
    ------
    LookupError
        No row, or more than one, has that path.
    """
    name, *keys = path.split("/")
    if keys[0] == "settings":
        return str(facts(name)[keys[1]])
    part = keys.pop(0) if isinstance(load(name)["summary"], Mapping) else None
    pair, method, key, *how = keys
    found = [
        row
        for row in rows_of(name, part)
        if row["method"] == method
        and (pair == "*" or row["pair"] == pair)
        and not (pair == "*" and row["pair"] == "all")
    ]
    if not found or (pair != "*" and len(found) > 1):
        raise LookupError(f"{len(found)} rows of {name}.json have that pair and method")
    column = COLUMNS[key]
    if "%" in how:
        column = Column(key, column.title, 0, scale=100)
    if pair != "*":
        return shown(found[0][key], column, "interval" in how)
    means = [mean(row, key) for row in found]
    ends = [_rounded(end, column) for end in (min(means), max(means))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def mean(row: Row, key: str) -> float:
    """A column's value, or its mean where it has an interval."""
    value = row[key]
    return value["mean"] if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class Part:
    """One table of a results page."""

    columns: Sequence[str]
    title: str = ""
    part: str | None = None


@dataclass(frozen=True)
class Page:
    """One results page; `measured`, `data` and `limits` may name `facts` in braces."""

    name: str
    title: str
    measured: str
    command: str
    data: str
    limits: str
    parts: Sequence[Part]
    picture: str | None = None


_FULL = ("psnr", "ssim", "dice_csf", "dice_grey", "dice_white", "dice", "gap_closed", "hd95")
_FULL += ("seconds_per_slice",)
_SHORT = ("psnr", "ssim", "dice", "gap_closed", "seconds_per_slice")
_WHOLE = ("psnr", "ssim", "slice_jump", "dice", "gap_closed", "seconds", "memory_mb")
_TISSUE_DICE = ("dice_grey", "dice_white", "dice", "subjects")
_PHANTOM_LIMIT = (
    "The digital brain is an average anatomy that is deformed at random. It is easier than a real "
    "scan in some ways and harder in others. The earlier `brain-t1-tissue`, `brain-any` and the "
    "models for comparison were trained on such brains of other seeds, and `brain-t1` and "
    "`brain-t1-lmi` on heads from label maps. This table says nothing about real scans."
)
# The segmenter whose label maps most tables compare.
_EARLIER_TISSUE = (
    " The label maps were made by the earlier `brain-t1-tissue`, which saw single axial slices at "
    "2 mm."
)
_EARLIER = (
    " These rows were measured with the earlier `brain-t1` and `brain-t1-lmi`. They worked at 2 mm "
    "and were trained on digital brains of the average anatomy."
)
_EARLIER_ROWS = (
    " The rows of *regression* and *lmi-diffusion* were measured with the earlier `brain-t1` and "
    "`brain-t1-lmi`, which worked at 2 mm."
)

# Pages whose label maps were made by the earlier segmenter.
_OF_EARLIER_TISSUE = (
    *("phantom", "ablation", "steps"),
    *("aldm", "aldm_people", "aldm_unseen", "aldm_steps"),
)

PAGES = (
    Page(
        "fidelity",
        "Heads of other people",
        "Every method translates PD, T2 and FLAIR to T1. The shipped T1 segmenter then segments "
        "the translation, and Dice and HD95 compare the result with the true label map. The row "
        "*real T1w* is the segmentation of the real T1 and is the ceiling of the segmenter.",
        "make -C benchmarks heads ANATOMIES=DIR UNSEEN_ANATOMIES=DIR",
        "The data are {subjects} heads without their skull at 1 mm, drawn from the label maps of "
        "four people, with {slices} axial slices each. No model has seen these people. Their label "
        "maps are public (BBillot/SynthSR on GitHub). A fifth one there has a label that `chiasm "
        "phantom` refuses. All models learned from heads of 20 other people.",
        "The images are simulated. The methods *paired* and *cyclegan* were trained on the source "
        "modalities and are not zero-shot. The shipped models were trained for hours, and the "
        "models for comparison for 6 to 22 minutes of one CPU core each. *stylegan* is a plug-in "
        "in the folder benchmarks. It takes minutes for each scan and was run on PD and T2 only. "
        "*sdedit* runs the model of LMI diffusion without its guide. There are few people.",
        [Part((*_FULL, "subjects"))],
    ),
    Page(
        "real",
        "Real scans",
        "Every method translates a real scan to T1. The shipped T1 segmenter segments the "
        "translation and the real T1 of the same subject. Dice is the agreement of the two.",
        "python benchmarks/real.py --data DIR",
        "The sets are public: Open MS (registered and as scanned), the SPM12 templates, the slices "
        "of the Insight Toolkit and patients of BraTS. {slices} axial slices of each large volume "
        "are used.",
        "No expert labels of tissue exist for these scans, so Dice measures agreement and not "
        "accuracy. Most sets are one or a few subjects, and an interval is given only where a set "
        "has several. The patients of BraTS have tumours. The images of BraTS 2018, and also its "
        "real T1, have few grey levels. *lmi-diffusion* was not run on them here, but on the page "
        "of segmenters that others trained. The seconds of "
        "*regression* and *lmi-diffusion* were measured on different machines.",
        [Part(_FULL)],
    ),
    Page(
        "foreign",
        "Segmenters that others trained",
        "A scan is translated to T1. A segmenter of T1 that others trained then segments the "
        "translation and the real T1 of the same person. Dice is the agreement of the two. Beside "
        "it stand the scan as it is, and *robust_tissue*, a segmenter of any contrast that others "
        "trained, which needs no translation. *brain-t1-tissue of the real T1* is what our own "
        "segmenter makes of the real T1. *samseg* adapts an atlas to each scan. It takes a "
        "quarter of an hour, so it was run on two scans of one person only. "
        "*heads-any-contrast* is our contrast-agnostic segmenter.",
        "make -C benchmarks foreign ANATOMIES=DIR DATA=DIR",
        "The sets are public: Open MS (registered and as scanned), BraTS GLI, BraTS 2018, a PD "
        "scan of niivue, the slices of the Insight Toolkit, IBSR, BrainWeb, the SPM12 templates "
        "and a CT template. The segmenters are *model20chan3cls* and *model5_gw_ae*, two networks "
        "of MeshNet, and *robust_tissue*, all of brainchop.",
        "Agreement is not accuracy. Where the real T1 has thick slices or little contrast, as in "
        "BraTS GLI, no translation can agree well with it. Most sets are one or a few people. "
        "*lmi-diffusion* and *heads-any-contrast* were trained on brains without a skull, and the "
        "rows of whole heads show what they do without a mask. In one whole head of Open MS "
        "(patient01, session2), *model20chan3cls* labels the real T1 itself wrongly, so no method "
        "agrees with it.",
        [
            Part(_TISSUE_DICE, "Agreement with the segmentation of the real T1", "agreement"),
            Part(_TISSUE_DICE, "Accuracy: agreement with the true tissues", "accuracy"),
            Part(
                _TISSUE_DICE,
                "Differences of agreement, of the same people (stripped heads)",
                DIFFERENCES,
            ),
        ],
    ),
    Page(
        "contexts",
        "Slices, neighbours and volumes",
        "The default translator was trained by its recipe from random weights, for 17 to 25 "
        "minutes of one CPU core each: on single slices (*2d*), on slices with two neighbours on "
        "either side (*2.5d*), and on boxes of 96 voxels along each axis (*3d*). A segmenter of T1 "
        "that others trained then segments the translation and the real T1.",
        "make -C benchmarks contexts ANATOMIES=DIR DATA=DIR",
        "The scans are T2 and FLAIR of one patient of Open MS, at 1 mm and in slices of 5 mm, and "
        "a PD scan of niivue. {slices} axial slices in the middle of each brain count.",
        "There are two people. In this time, the slices had three times as many iterations as the "
        "boxes, because an iteration on boxes takes longer. With much more time, the order may "
        "change: the shipped model was trained for hours.",
        [Part(_TISSUE_DICE, "Agreement with the segmentation of the real T1", "agreement")],
    ),
    Page(
        "phantom",
        "Digital brains at 2 mm",
        "Every zero-shot method translates PD, T2 and FLAIR to T1 on the grid on which the shipped "
        "models were trained.",
        "python benchmarks/phantom.py",
        "The data are {subjects} digital brains of unseen seeds at {spacing} mm, with {slices} "
        "axial slices each.",
        _PHANTOM_LIMIT + _EARLIER,
        [Part(_FULL)],
    ),
    Page(
        "ablation",
        "What each part is worth",
        "Each row is a short training of one method with one setting changed. Rows that differ in "
        "sampling alone share one training.",
        "python benchmarks/ablation.py --data DIR",
        "Each training takes {iterations} iterations on digital brains. The scores are those of "
        "{subjects} digital brains of unseen seeds at {spacing} mm, with {slices} slices each.",
        "The trainings are much shorter than those of the shipped models, so the rows can be "
        "compared with one another and with nothing else. There are few subjects, and small "
        "differences mean nothing.",
        [Part(_SHORT)],
    ),
    Page(
        "steps",
        "Number of diffusion steps",
        "LMI diffusion is sampled by two schedulers with different numbers of steps.",
        "python benchmarks/steps.py --anatomies DIR --subjects 2 --steps 1,2,4,8 "
        "--schedulers ddim,dpm++",
        "The data are {subjects} heads without their skull at {spacing} mm, drawn from the label "
        "maps of {people} people that no model has seen, with {slices} slices each. The model is "
        "`{model}`.",
        "The images are simulated. There are two subjects. One model was measured. A model with a "
        "longer training may gain from more steps.",
        [Part(_SHORT)],
    ),
    Page(
        "planes",
        "Slice planes",
        "The default model is run on axial, coronal and sagittal slices, and on all three with the "
        "mean as the result, which is its default. *Slice jump* is the difference between "
        "neighbouring axial slices, divided by that of the real T1.",
        "python benchmarks/planes.py --anatomies DIR --spacing 1",
        "The data are slabs of {slices} slices of {subjects} heads without their skull at "
        "{spacing} mm, drawn from the label maps of {people} people that no model has seen.",
        "The images are simulated. There are few subjects.",
        [Part(("psnr", "ssim", "slice_jump", "dice", "gap_closed", "seconds"))],
    ),
    Page(
        "uncertainty",
        "Uncertainty, translatability and lesions",
        "Three questions are measured. Do the standard deviation of several translations and the "
        "expected error of the model show where a translation is wrong? Does translatability, "
        "which is computed before the translation, predict the Dice after it? What happens to "
        "lesions of white matter?",
        "python benchmarks/uncertainty.py --data DIR --anatomies DIR --spacing 1 --subjects 4 "
        "--sampled 2 --samples 2 --slices 4",
        "The data are {subjects} heads without their skull at {spacing} mm, drawn from the label "
        "maps of {people} people that no model has seen, and real scans. {samples} translations "
        "were made of each scan for the uncertainty.",
        "An AUROC of one half is chance. *Worst tenth* asks for the tenth of the voxels with the "
        "largest errors. Only a few subjects have lesions. A missed lesion is one "
        "that lost at least half of its contrast. A false positive is a spot in the translation "
        "that the real image does not have.",
        [
            Part(
                (
                    *("auroc", "auroc_worst", "expected_ratio", "spearman", "diversity", "wrong"),
                    *("psnr_single", "psnr_mean", "gain_db"),
                ),
                "Uncertainty: spread of several translations, expected error, and the true error",
                "uncertainty",
            ),
            Part(
                ("images", "score", "dice", "spearman", "warned", "dice_warned"),
                "Translatability of digital heads and the Dice that followed",
                "translatability",
            ),
            Part(
                ("images", "score", "dice", "spearman", "warned", "dice_warned"),
                "Translatability of real scans and the Dice that followed",
                "translatability, real scans",
            ),
            Part(
                ("lesions", "visible", "kept", "missed", "false_positive"),
                "Lesions of white matter",
                "lesions",
            ),
        ],
    ),
    Page(
        "aldm",
        "Any to any in whole volumes",
        "ALDM translates each of four modalities to each of the others in whole volumes. It is "
        "compared with plain latent diffusion on the same autoencoder, with its own estimate "
        "without diffusion, with paired regressions (one for each target), and with the zero-shot "
        "default.",
        "make -C benchmarks any-benchmarks",
        "The data are {subjects} digital brains of unseen seeds, whole, on the 2 mm grid of the "
        "model. PSNR and SSIM are computed inside the foreground mask.",
        _PHANTOM_LIMIT + _EARLIER_ROWS,
        [Part(_WHOLE)],
        "aldm.png",
    ),
    Page(
        "aldm_people",
        "ALDM on brains of other people",
        "ALDM was trained anew on brains that were drawn from the label maps of 14 people. Its "
        "diffusion was taught on the same people, or on 5 other people, because a translator knows "
        "the people that it was trained on better than others. The shipped model was trained on "
        "digital brains of the average anatomy.",
        "make -C benchmarks people ANATOMIES=DIR UNSEEN_ANATOMIES=DIR",
        "The data are {subjects} brains at 2 mm, drawn from the label maps of people whom no model "
        "has seen. PSNR and SSIM are computed inside the foreground mask.",
        "The images are simulated, and there are few subjects. Each of the two trainings of the "
        "diffusion had 300 iterations.",
        [Part(_WHOLE)],
        "aldm_people.png",
    ),
    Page(
        "aldm_unseen",
        "A modality that ALDM has never seen",
        "An ALDM model that was trained on T1, T2 and FLAIR translates PD. Loss guidance then "
        "moves every estimate up the gradient of local mutual information with the scan.",
        "make -C benchmarks any-benchmarks",
        "The data are {subjects} digital brains of unseen seeds, whole, at 2 mm.",
        _PHANTOM_LIMIT + " There are few subjects." + _EARLIER_ROWS,
        [Part(_WHOLE)],
        "aldm_unseen.png",
    ),
    Page(
        "aldm_real",
        "Any to any on real brains",
        "ALDM was trained on from the shipped model with five patients of BraTS 2018. It is "
        "compared with the shipped model, which has seen digital brains only, and with the "
        "zero-shot default.",
        "make -C benchmarks any-real DATA=DIR",
        "The scans are of patients whom the model was not trained on: two of BraTS 2018, one of "
        "BraTS GLI and one of Open MS.",
        "There is one patient of each of two sets, and the means mix the sets. Five subjects are "
        "too few to train a model that serves another scanner." + _EARLIER_ROWS,
        [Part(("psnr", "ssim", "slice_jump", "seconds"))],
        "aldm_real.png",
    ),
    Page(
        "aldm_steps",
        "Number of steps of ALDM",
        "The shipped ALDM model is run with different numbers of diffusion steps.",
        "make -C benchmarks any-benchmarks",
        "The data are three directions of one digital brain.",
        "One brain was measured.",
        [Part(("psnr", "ssim", "dice", "seconds"))],
    ),
    Page(
        "aldm_losses",
        "The five losses of ALDM",
        "One loss at a time is left out of the training of the autoencoder and of MS-SPADE.",
        "python benchmarks/aldm_losses.py --data DIR --unseen UNSEEN --iterations {iterations}",
        "The scores are those of {subjects} digital brains of unseen seeds. *There and back* is "
        "the autoencoder on its own, and *all pairs* is MS-SPADE without diffusion.",
        "The trainings are the first part of a full one. A loss that shows no effect here may "
        "show one later.",
        [Part(("psnr", "ssim", "sharpness", "slice_jump", "train_seconds"))],
    ),
    Page(
        "aldm_cost",
        "What ALDM costs",
        "One volume of {size} voxels is translated in {steps} steps. The shipped model works at "
        "2 mm. The other rows have random weights and work at 1 mm.",
        "python benchmarks/aldm_cost.py",
        "The volume is synthetic, because the cost does not depend on the content.",
        "Times were measured on {threads} CPU cores and not on a GPU.",
        [
            Part(
                (
                    "spacing_mm",
                    "parameters",
                    "seconds",
                    "memory_mb",
                    "predicted_mb",
                    "pass_memory_mb",
                )
            )
        ],
    ),
    Page(
        "lmi",
        "Speed and maps of local mutual information",
        "The time of one map of local mutual information is compared with the definition as one "
        "writes it in torch. The series vary size, patch, bins and threads. The second table "
        "compares, inside the brain, the maps of sources with those of the T1 of the same brain.",
        "python benchmarks/lmi.py --golden FILE; python benchmarks/lmi.py --only maps --data DIR",
        "The images whose time was measured are uniform noise, in which nothing can be skipped. "
        "The row *golden* is a real T2 slice and a noised T1. The maps are those of all slices of "
        "digital brains, of an atlas, of a patient of open_ms and of one slice of another scan, on "
        "the grid of the model `brain-t1-lmi`.",
        "Times were measured on {threads} CPU cores. The Triton engine for CUDA was tested in "
        "Triton's interpreter only. The maps of each real scan are those of one person. They "
        "show whether the inputs of a network are alike, not how well it translates.",
        [
            Part(
                (
                    "shape",
                    "patch",
                    "bins",
                    "threads",
                    "seconds",
                    "definition_seconds",
                    "ratio",
                    "memory_mb",
                    "share_of_peak",
                ),
                "Speed",
                "speed",
            ),
            Part(
                ("map_correlation", "map_difference", "source_map", "target_map", "agreement"),
                "Maps of the source and of the T1",
                "maps",
            ),
        ],
    ),
    Page(
        "lmi_gradient",
        "Speed of the gradient of local mutual information",
        "The time of the scores and their gradient, as loss guidance uses them, is compared with "
        "the engine in plain torch.",
        "python benchmarks/lmi_gradient.py",
        "The images are uniform noise.",
        "Plain torch was run on the smaller images only. Times were measured on {threads} CPU "
        "cores.",
        [Part(("seconds", "torch_seconds", "ratio"))],
    ),
)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]], left: int = 2) -> str:
    """A Markdown table whose first ``left`` columns are text."""
    rule = [":--"] * left + ["--:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


# Pairs of at least so many methods have a table of their own.
_GROUPED = 4


def table(name: str, part: Part) -> str:
    """One table of a results file, by pairs; columns that no row has are left out."""
    rows = rows_of(name, part.part)
    pairs = list(dict.fromkeys(str(row["pair"]) for row in rows))
    if len(rows) < _GROUPED * len(pairs):
        return _table(rows, part.columns, with_pair=True)
    parts = []
    for pair in pairs:
        of_pair = [row for row in rows if row["pair"] == pair]
        parts += [f"### {pair}\n", _table(of_pair, part.columns, with_pair=False) + "\n"]
    return "\n".join(parts)


def _table(rows: Sequence[Row], columns: Sequence[str], with_pair: bool) -> str:
    keys = [key for key in columns if any(row.get(key) is not None for row in rows)]
    text = ["pair", "method"] if with_pair else ["method"]
    lines = [
        [str(row["pair"])] * with_pair
        + [method_name(str(row["method"]))]
        + [shown(row.get(key), COLUMNS[key]) for key in keys]
        for row in rows
    ]
    return markdown([*text, *(COLUMNS[key].title for key in keys)], lines, left=len(text))


def page(one: Page) -> str:
    """The Markdown of one results page."""
    content, known = load(one.name), facts(one.name)
    limits = one.limits + _EARLIER_TISSUE * (one.name in _OF_EARLIER_TISSUE)
    texts = [text.format_map(known) for text in (one.measured, one.command, one.data, limits)]
    measured, command, data, limits = texts
    parts = []
    for part in one.parts:
        parts += [f"## {part.title or 'Results'}\n", table(one.name, part) + "\n"]
    if one.picture and (RESULTS / one.picture).is_file():
        parts.append(f"![{one.title}](../../benchmarks/results/{one.picture})\n")
    versions = f"Chiasm {content['chiasm']}, torch {content['torch']}, Python {content['python']}"
    return f"""# {one.title}

**What was measured.** {measured}

**Command.** `{command}`

**Data.** {data}

**Limits.** {limits}

Numbers in brackets are 95 % bootstrap intervals over the subjects. This page was generated from
`benchmarks/results/{one.name}.json` ({versions}, {content["threads"]} threads).

{chr(10).join(parts)}"""


_INDEX = """# Results

Each page below is generated from a file of `benchmarks/results/` when this site is built. It says
what was measured, which command prints it, on which data, and what it does not show.

- **PSNR**, **SSIM** and **MAE** compare images inside the foreground mask. Both images are first
  scaled to [0, 1] by their own percentiles.
- **Dice**, **HD95** and **ASSD** compare label maps.
- **G** is the share of the gap that a method closes. It is zero for the untranslated scan and one
  for the real target image. With the mean Dice $D$ it is
  $G = (D - D_\\text{{none}}) / (D_\\text{{real}} - D_\\text{{none}})$.
- **Sharpness** is the mean difference between neighbouring voxels within slices, divided by that of
  the real image. Blur lowers it, and noise in the real image lowers it too.
- **Slice jump** is the mean difference between neighbouring slices, divided by that of the real
  volume.

No figure was measured on a GPU.

```{{toctree}}
:maxdepth: 1

{names}
```
"""


def write_pages(folder: Path) -> None:
    """Write the index and one page for each results file; a file without a page is an error."""
    known, there = {one.name for one in PAGES}, {path.stem for path in RESULTS.glob("*.json")}
    if known != there:
        raise ValueError(f"results files and pages differ: {sorted(known ^ there)}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = "\n".join(one.name for one in PAGES)
    (folder / "index.md").write_text(_INDEX.format(names=names), encoding="utf-8")
    for one in PAGES:
        (folder / f"{one.name}.md").write_text(page(one), encoding="utf-8")


_CARDS = """# Models

These models are part of the package. A model is a folder with `config.json`, `model.safetensors`
and a card. `--model` and `--segmenter` take one of these names or the path of such a folder.

```{{toctree}}
:maxdepth: 1

{names}
```
"""


def write_cards(folder: Path) -> None:
    """Write one page for each shipped model, which includes its card."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = sorted(path.parent.name for path in WEIGHTS.glob("*/README.md"))
    (folder / "index.md").write_text(_CARDS.format(names="\n".join(names)), encoding="utf-8")
    for name in names:
        card = (WEIGHTS / name / "README.md").relative_to(ROOT)
        text = f"```{{include}} ../../{card}\n```\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


# The six rows of the README: what is scored, file, pair, method.
README_ROWS = (
    ("digital heads, PD", "fidelity", "PDw→T1w", "regression"),
    ("digital heads, T2", "fidelity", "T2w→T1w", "regression"),
    ("digital heads, T2", "fidelity", "T2w→T1w", "lmi-diffusion"),
    ("real, MS as scanned, T2", "real", "open_ms native, T2w→T1w", "regression"),
    ("real, MS as scanned, T2", "real", "open_ms native, T2w→T1w", "lmi-diffusion corrected"),
    ("real, tumours, FLAIR", "real", "brats2018, FLAIR→T1w", "regression"),
)


def _row(name: str, pair: str, method: str) -> Row:
    """The one row of a pair and a method."""
    (row,) = (r for r in rows_of(name) if r["pair"] == pair and r["method"] == method)
    return row


def readme_table() -> str:
    """The table of README.md."""
    lines = []
    for data, name, pair, method in README_ROWS:
        row, none, real = (_row(name, pair, one) for one in (method, "none", "real T1w"))
        dice = [shown(other.get("dice"), COLUMNS["dice"], False) for other in (none, real)]
        cells = [shown(row[k], COLUMNS[k]) for k in ("psnr", "dice")]
        cells += [dice[0], dice[1] if name == "fidelity" else ""]
        cells += [shown(row[k], COLUMNS[k]) for k in ("gap_closed", "seconds_per_slice")]
        lines.append([data, f"`{method_name(method)}`", str(row["subjects"]), *cells])
    header = ["scan", "method", "subjects", "PSNR, dB", "Dice", "Dice, untranslated"]
    header += ["Dice, real T1", "G", "s per slice"]
    return markdown(header, lines)


# The tables of the shipped models' cards: file, method in it, columns.
CARDS = {
    ("brain-t1", "fidelity"): ("regression", _FULL[:7]),
    ("brain-t1", "foreign"): ("brain-t1", ("dice_grey", "dice_white", "dice")),
    ("brain-t1-lmi", "fidelity"): ("lmi-diffusion", _FULL[:7]),
    ("brain-t1-tissue", "foreign"): ("real T1", _FULL[3:6]),
    ("brain-any", "aldm"): ("aldm", ("psnr", "ssim", "dice", "gap_closed")),
}


def card_table(model: str, name: str) -> str:
    """The scores of a shipped model in one results file, with three digits and intervals."""
    method, keys = CARDS[model, name]
    rows = [row for row in rows_of(name) if row["method"] == method]
    lines = [
        [row["pair"]]
        + [shown(row.get(key), Column(key, "", 1 if key == "psnr" else 3, True)) for key in keys]
        for row in rows
    ]
    return markdown(["pair", *(COLUMNS[key].title for key in keys)], lines, left=1)


def tables() -> dict[Path, dict[str, str]]:
    """The generated tables of files that are kept in the repository, by their markers."""
    found: dict[Path, dict[str, str]] = {ROOT / "README.md": {"readme": readme_table()}}
    for model, name in CARDS:
        found.setdefault(WEIGHTS / model / "README.md", {})[name] = card_table(model, name)
    return found


def replaced(text: str, marker: str, content: str) -> str:
    """The text with what stands between ``<!-- table MARKER -->`` and ``<!-- end -->`` replaced."""
    pattern = rf"(<!-- table {re.escape(marker)} -->\n).*?(<!-- end -->)"
    result, count = re.subn(pattern, lambda m: f"{m[1]}\n{content}\n\n{m[2]}", text, flags=re.S)
    if count != 1:
        raise ValueError(f"{count} markers of the table {marker}, where there must be one")
    return result


def main() -> None:
    """Write the tables of README.md and of the model cards."""
    for path, contents in tables().items():
        text = path.read_text(encoding="utf-8")
        for marker, content in contents.items():
            text = replaced(text, marker, content)
        path.write_text(text, encoding="utf-8")
        print(f"wrote the tables of {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
