"""All ordered pairs of some modalities: ALDM beside what else translates them.

    chiasm phantom -o DIR --subjects 20 --seed 90000 --spacing 2
    python benchmarks/aldm.py --data DIR --model aldm=FOLDER --model "paired=FOLDER,FOLDER"

A method is one or several models, each of which makes one target or several. It is run on the pairs
that these models know. Options of a run follow each with an @:

- ``@strength=0.3`` is loss guidance, and ``@strength=0.3@slices=true`` is loss guidance by the
  agreement of the slices in place of the volume's;
- ``@start=estimate`` is what the translator in the latent makes, without diffusion;
- ``@quantise=true`` decodes through the codes, and ``@quantise=false`` does not.

DIR holds subjects with all modalities on one grid. Both images are laid on [0, 1] by their own
percentiles in the foreground. PSNR, SSIM and NMSE are computed inside the foreground, and ("whole")
over the whole image with its background. The jumps from slice to slice, and their ratio to the
changes within slices, are both divided by those of the real volume. The means of a method are over
the pairs that it has. Where there is a label map (``_dseg``) and the target is the segmenter's, the
table shows Dice of the segmentation and G too.

The results are saved as results/<save>.json after every subject, and a plot of PSNR at the end.
Subjects that were done with the same settings and weights are not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, permutations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from chiasm import files, models
from chiasm.files.find import find_images
from chiasm.files.subject import subject_of
from chiasm.image.foreground import foreground_mask
from chiasm.image.intensity import on_unit_range
from chiasm.image.modality import modality_name, split_modality
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.cost import measure, memory_is
from chiasm.machine.device import Resources
from chiasm.methods.aldm.translator import ALDM
from chiasm.methods.base import Translator
from chiasm.methods.load import load_translator
from chiasm.models import Model
from chiasm.registry import DEFAULT_SEGMENTER
from chiasm.scoring.image import image_scores
from chiasm.scoring.labels import label_scores
from chiasm.scoring.slices import axial_axis, slice_jump
from chiasm.scoring.statistics import bootstrap_interval, gap_closure
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter
from harness import modalities, results_file, rows_before, save, show, target_of
from measures import slice_anisotropy

SLICES = ("slice_jump", "slice_anisotropy")
SCORES = ("psnr", "ssim", "nmse", "psnr_whole", "ssim_whole", "nmse_whole", *SLICES)
LABELLED = ("dice", "gap_closed")
COSTS = ("seconds", "memory_mb")


class GuidedBySlices(ALDM):
    """ALDM whose loss guidance follows the agreement of each slice, not that of the volume."""

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        self.loss_guidance = self.loss_guidance.model_copy(update={"slices": True})


def parsed(specification: str) -> tuple[str, list[str], dict[str, Any]]:
    """A method's name, the folders of its models, and its options."""
    head, *assignments = specification.split("@")
    name, _, folders = head.partition("=")
    pairs = (one.partition("=") for one in assignments)
    return name, folders.split(","), {key: yaml.safe_load(value) for key, _, value in pairs}


def translators(
    specification: str, wanted: Sequence[str], resources: Resources
) -> tuple[str, dict[str, Translator], int]:
    """A method's name, its translator to each target, and its parameters in all."""
    name, folders, options = parsed(specification)
    by_slices, quantise = options.pop("slices", False), options.pop("quantise", None)
    found: dict[str, Translator] = {}
    weights = 0
    for folder in folders:
        first = load_translator(folder, resources=resources, **options)
        if (by_slices or quantise is not None) and not isinstance(first, ALDM):
            problem = f"--model {specification}: {folder} has neither codes nor loss guidance"
            raise SystemExit(f"{problem}; legal: an aldm model")
        if by_slices:
            method = first.method
            first = GuidedBySlices(first.model, first.options, resources)
            first.method = method
        weights += sum(one.numel() for one in first.model.module.parameters())
        if quantise is not None:
            first.model.module.codec.quantise = quantise
        config = first.model.config
        for target in config.targets or [config.target]:
            if target in wanted:
                found[target] = first.towards(target)
    return name, found, weights


def scores(made: Volume, real: Volume, mask: np.ndarray) -> dict[str, float]:
    """Of two images on [0, 1]: in the foreground, and everywhere."""
    axis = axial_axis(real)
    row: dict[str, float] = {}
    for suffix, where in (("", mask), ("_whole", np.ones_like(mask))):
        one = image_scores(made, real, where, slice_axis=axis)
        row |= {f"{key}{suffix}": getattr(one, key) for key in ("psnr", "ssim", "nmse")}
    for key, of in zip(SLICES, (slice_jump, slice_anisotropy), strict=True):
        row[key] = float(of(made, mask, axis) / of(real, mask, axis))
    return row


def named_weights(specification: str) -> tuple[str, list[str]]:
    """A method, and the fingerprints of its models and its options."""
    name, folders, options = parsed(specification)
    loaded = (models.load(one, kind="translator").fingerprint for one in folders)
    return name, [*loaded, *(f"{key}={value}" for key, value in options.items())]


def subjects(
    folder: Path, wanted: Sequence[str], count: int | None, only: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Path]]]:
    """Of each subject, or of those named ``only``, its name and its scan of every modality."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for modality in wanted:
        for path in find_images(folder, modality=modality):
            found.setdefault(subject_of(path, folder), {})[modality] = path
    whole = [
        (name, one)
        for (name, _), one in sorted(found.items())
        if len(one) == len(wanted) and (not only or name in only)
    ]
    yield from whole[:count]


def unit(image: Volume, mask: np.ndarray) -> Volume:
    """On [0, 1] by its own percentiles in the foreground, 0 outside, clipped."""
    array = np.clip(on_unit_range(image, mask).array, 0, 1) * mask
    return replace(image, array=array.astype(np.float32))


def labels_beside(path: Path) -> LabelVolume | None:
    """The subject's label map, if there is one."""
    stem, _ = split_modality(files.stem(path))
    found = [path.with_name(f"{stem}_dseg{suffix}") for suffix in files.endings()]
    return next((files.read_labels(one) for one in found if one.is_file()), None)


class Dice:
    """Mean Dice of what a segmenter finds in images of one subject."""

    def __init__(self, segmenter: Segmenter, truth: LabelVolume, mask: np.ndarray) -> None:
        self.segmenter, self.mask = segmenter, mask
        model: Any = getattr(segmenter, "model", None)
        trained = {} if model is None else model.config.training["settings"]
        merged = trained.get("merge_labels") or {}
        self.merge = {int(key): value for key, value in merged.items()}
        self.truth = truth
        self.known: dict[str, float] = {}

    def __call__(self, image: Volume) -> float:
        found = self.segmenter.segment(image, self.mask).labels
        scores = label_scores(found, self.truth, merge=self.merge, mask=self.mask)
        return float(np.mean([one.dice for one in scores.labels]))

    def of(self, key: str, image: Volume) -> float:
        """Of a real image, which is segmented once."""
        if key not in self.known:
            self.known[key] = self(image)
        return self.known[key]


def summarised(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over subjects with their intervals, for every pair and method; then over pairs."""
    lines = []
    for pair in [*dict.fromkeys(row["pair"] for row in rows), "all"]:
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [r for r in rows if r["method"] == method and pair in (r["pair"], "all")]
            line: dict[str, Any] = {"pair": pair, "method": method}
            for key in (*SCORES, *LABELLED):
                by_subject: dict[str, list[float]] = {}
                for row in own:
                    if key in row:
                        by_subject.setdefault(row["subject"], []).append(row[key])
                if not by_subject:
                    continue
                values = [float(np.mean(one)) for one in by_subject.values()]
                low, high = bootstrap_interval(values)
                line[key] = {"mean": float(np.mean(values)), "interval": [low, high]}
            for key in COSTS if own else ():
                line[key] = float(np.mean([row[key] for row in own]))
            if own:
                lines.append(line | {"parameters": own[0]["parameters"]})
    return lines


def plot(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """PSNR of every pair and method, with its interval."""
    from matplotlib.figure import Figure

    pairs = [pair for pair in dict.fromkeys(line["pair"] for line in lines) if pair != "all"]
    names = list(dict.fromkeys(line["method"] for line in lines))
    figure = Figure(figsize=(max(7, 1 + 0.9 * len(pairs)), 4), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(names):
        own = {line["pair"]: line["psnr"] for line in lines if line["method"] == name}
        at = [i for i, pair in enumerate(pairs) if pair in own]
        means = np.array([own[pairs[i]]["mean"] for i in at])
        spans = np.array([own[pairs[i]]["interval"] for i in at]).reshape(-1, 2).T
        place = np.array(at) + 0.8 * ((k + 0.5) / len(names) - 0.5)
        axes.bar(place, means, 0.8 / len(names), yerr=abs(spans - means), label=name)
    axes.set_xticks(range(len(pairs)), pairs, rotation=30)
    axes.set_ylabel("PSNR in the foreground, dB")
    axes.legend(fontsize="small", ncols=3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, action="append", help="one or several")
    parser.add_argument("--model", action="append", required=True, help="NAME=FOLDER[,FOLDER...]")
    parser.add_argument("--modalities", default="T1,T2,PD,FLAIR")
    parser.add_argument("--pairs", default="", help="e.g. PD>T1,PD>T2; all if not given")
    parser.add_argument("--subjects", type=int, help="of each folder, at most")
    parser.add_argument("--only", default="", help="names of subjects; all if not given")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", default="aldm")
    chosen = parser.parse_args()

    wanted = modalities(chosen.modalities)
    pairs = [
        tuple(modality_name(name) for name in pair.split(">"))
        for pair in filter(None, chosen.pairs.split(","))
    ] or list(permutations(wanted, 2))
    resources = Resources(device=chosen.device)
    methods = [translators(one, wanted, resources) for one in chosen.model]
    segmenter = load_segmenter(chosen.segmenter, resources)
    segmented = target_of(segmenter)
    settings = {key: value for key, value in vars(chosen).items() if key not in ("data", "model")}
    settings["data"] = [folder.name for folder in chosen.data]
    settings["memory"] = memory_is(chosen.device)
    settings["models"] = dict(named_weights(given) for given in chosen.model)
    rows = rows_before(chosen.save, settings)
    done = {row["subject"] for row in rows}
    only = chosen.only.split(",") if chosen.only else []
    for name, paths in chain.from_iterable(
        subjects(folder, wanted, chosen.subjects, only) for folder in chosen.data
    ):
        if name in done:
            continue
        images = {key: files.read(path, modality=key) for key, path in paths.items()}
        mask = foreground_mask(images[wanted[0]])
        truth = labels_beside(next(iter(paths.values())))
        dice = None if truth is None else Dice(segmenter, truth, mask)
        for source, target in pairs:
            for method, by_target, parameters in methods:
                one = by_target.get(target)
                if one is None or source not in (one.model.config.sources or wanted):
                    continue
                translate, image = one.translate, images[source]
                made = measure(lambda: translate(image, mask), chosen.device)  # noqa: B023
                row = {"subject": name, "pair": f"{source}→{target}", "method": method}
                row |= scores(unit(made.result.volume, mask), unit(images[target], mask), mask)
                if dice is not None and target == segmented:
                    own = dice(made.result.volume)
                    floor, ceiling = (dice.of(key, images[key]) for key in (source, target))
                    row |= {"dice": own, "gap_closed": gap_closure(own, floor, ceiling)}
                costs = {"seconds": made.seconds, "memory_mb": made.memory_mb}
                rows.append(row | costs | {"parameters": parameters})
        print(f"{name}: {len(rows)} rows", flush=True)
        save(chosen.save, settings, summarised(rows), rows)
    lines = summarised(rows)
    columns = ("psnr", "ssim", "nmse", *SLICES, *LABELLED, *COSTS, "parameters")
    show("All pairs", lines, columns)
    plot(lines, results_file(chosen.save, ".png"))


if __name__ == "__main__":
    main()
