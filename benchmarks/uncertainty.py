"""How uncertain a translation is: deviation and error, translatability, and lesions.

    python benchmarks/uncertainty.py [--data DIR] [--subjects 8] [--slices 6] [--samples 8]
        [--anatomies DIR] [--methods regression,lmi-diffusion] [--keep]

Three tables, on digital brains of unseen seeds or, with ``--anatomies``, on heads of people. With
``--data`` they are also made on the real scans of ``benchmarks/real.py``:

- uncertainty: how well the deviation of N samples ranks the error of their mean (AUROC of errors
  above 0.1 of the image's range, Spearman), how diverse the samples are, and what their mean gains;
  if the model gives an expected error, the same of it, and how well it finds the worst tenth;
- translatability: the score that is computed before the translation, beside the Dice after it;
- lesions: how much of their contrast is kept, how many are missed, and how many false positives.

Images are laid on [0, 1] by their own percentiles in the brain before they are compared. Models
that look at neighbouring slices or at other planes translate the complete scan. With --keep, saved
rows of methods that are not among --methods stay, so that one method can be measured anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from chiasm import admission, files
from chiasm.comparison.cases import Case, Complete
from chiasm.comparison.methods import Candidate
from chiasm.comparison.score import score
from chiasm.image.foreground import foreground_mask
from chiasm.image.intensity import on_unit_range, policy_for
from chiasm.image.volume import TISSUES, LabelVolume, Volume
from chiasm.methods.base import NetworkTranslator, Translation
from chiasm.methods.load import load_translator
from chiasm.methods.translatability import translatability
from chiasm.pipeline import Pipeline
from chiasm.registry import DEFAULT_MODEL, DEFAULT_SEGMENTER
from chiasm.scoring import image_scores, lesion_scores, uncertainty
from chiasm.scoring.slices import take
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter
from harness import (
    DIFFUSION,
    absent,
    add_brains,
    candidates,
    results_before,
    save,
    saved_options,
    show,
    target_of,
)
from phantom import brains
from phantom import cases as phantom_cases
from real import cases as real_cases

WHITE, LESION = (next(one.value for one in TISSUES if one.name == n) for n in ("white", "lesion"))
WRONG = 0.1  # of the range [0, 1]
GOOD = 0.75  # Dice; a model's `translatable_from` is the score at which the line of Dice meets it
WORST = 0.1  # the share of the voxels with the largest errors
UNCERTAINTY = ("auroc", "spearman", "diversity", "wrong", "psnr_single", "psnr_mean", "gain_db")
UNCERTAINTY += ("auroc_worst", "expected_ratio")
TRANSLATABILITY = (
    "images",
    "score",
    "dice",
    "spearman",
    "pearson",
    "warned",
    "dice_warned",
    "score_at_good",
)
LESIONS = ("lesions", "visible", "contrast_real", "kept", "missed", "false_positive")


def seen(case: Case, translator: NetworkTranslator) -> tuple[Volume, np.ndarray]:
    """The scan and the foreground that a translator is given."""
    complete = case.complete
    if complete is None or not Candidate("", Pipeline(translator)).reads_more_than_slices:
        return case.source, case.mask
    return complete.source, complete.mask


def translated(case: Case, translator: NetworkTranslator) -> Translation:
    """The translation of the slices of a case."""
    source, mask = seen(case, translator)
    made = translator.translate(source, mask)
    if source is case.source:
        return made
    assert case.complete is not None
    kept = case.complete.slices
    return replace(
        made,
        volume=kept(made.volume),
        deviation=kept(made.deviation),
        expected_error=kept(made.expected_error),
    )


def score_expected(case: Case, method: str, result: Translation) -> dict[str, Any]:
    """The expected error of a translation beside its error.

    ``auroc_worst`` is the area under the ROC curve of the tenth of the voxels with the largest
    errors, and ``expected_ratio`` the mean expected error divided by the mean error.
    """
    real, made = (on_unit_range(image, case.mask) for image in (case.real, result.volume))
    own = policy_for(result.volume.modality).fit(result.volume, case.mask)
    assert result.expected_error is not None
    expected = result.expected_error.array[case.mask] / (own.high - own.low)
    error = (made.array - real.array)[case.mask]
    scores = uncertainty(expected, error, WRONG)
    worst = uncertainty(expected, error, float(np.quantile(np.abs(error), 1 - WORST)))
    return {
        "pair": case.pair,
        "method": f"{method}, expected error",
        "subject": case.subject,
        **json.loads(scores.model_dump_json(include={"auroc", "spearman", "wrong"})),
        "auroc_worst": worst.auroc,
        "expected_ratio": float(expected.mean() / np.abs(error).mean()),
        "warning": None,
    }


def score_samples(
    case: Case, method: str, one: NetworkTranslator, several: NetworkTranslator
) -> Iterator[dict[str, Any]]:
    """Deviation beside error, the mean of the samples beside the first, and the expected error."""
    result, alone = translated(case, several), translated(case, one)
    assert result.deviation is not None
    if alone.expected_error is not None:
        yield score_expected(case, method, alone)
    real, mean, single = (
        on_unit_range(image, case.mask) for image in (case.real, result.volume, alone.volume)
    )
    own = policy_for(result.volume.modality).fit(result.volume, case.mask)
    deviation = result.deviation.array[case.mask] / (own.high - own.low)
    scores = uncertainty(deviation, (mean.array - real.array)[case.mask], WRONG)
    psnr_mean, psnr_single = (image_scores(x, real, case.mask).psnr for x in (mean, single))
    yield {
        "pair": case.pair,
        "method": method,
        "subject": case.subject,
        **json.loads(scores.model_dump_json(exclude={"threshold"})),  # NaN is null
        "psnr_single": psnr_single,
        "psnr_mean": psnr_mean,
        "gain_db": psnr_mean - psnr_single,
        "warning": scores.warning,
    }


def score_translatability(
    case: Case, translator: NetworkTranslator, segmenter: Segmenter
) -> dict[str, Any]:
    """The score, and the Dice that it is meant to predict."""
    source, mask = seen(case, translator)
    found = translatability(source, translator, mask)
    (candidate,) = candidates({"regression": translator}, segmenter)
    row = score(case, candidate).row
    warnings = admission.translatability_warnings(found)
    return row | found.model_dump() | {"warning": " ".join(warnings) or None}


def score_lesions(case: Case, method: str, translator: NetworkTranslator) -> dict[str, Any]:
    """Lesions have label 4 in the reference of the case, white matter has label 3."""
    image = translated(case, translator).volume
    made, real = (on_unit_range(x, case.mask) for x in (image, case.real))
    labels = case.reference.array
    scores = lesion_scores(made, real, labels == LESION, labels == WHITE)
    row = {"pair": case.pair, "method": method, "subject": case.subject}
    return row | json.loads(scores.model_dump_json())


def lesion_phantoms(
    chosen: argparse.Namespace, sources: Sequence[str], target: str, segmenter: Segmenter
) -> Iterator[Case]:
    """Digital brains with lesions: the adjacent slices that hold most of them."""
    own = argparse.Namespace(**vars(chosen) | {"subjects": chosen.sampled})

    def choice(mask: np.ndarray, labels: np.ndarray) -> range:
        return fullest(labels == LESION, chosen.slices)

    return brains(own, sources, target, segmenter, choice, lesions=True)


def fullest(mask: np.ndarray, shown: int) -> range:
    """Indices of the adjacent slices that hold most of a mask."""
    sums = np.convolve(mask.sum(axis=(0, 1)), np.ones(shown), mode="valid")
    first = int(sums.argmax())
    return range(first, first + shown)


def lesion_patient(data: Path, segmenter: Segmenter, shown: int) -> Iterator[Case]:
    """The patient of open_ms; white matter is the segmentation's of the real T1."""
    folder = data / "open_ms" / "mni_1mm" / "patient07"
    if absent(folder):
        return
    lesion = files.read_labels(folder / "lesions.nii.gz").array > 0
    real = files.read(folder / "T1.nii.gz", modality="T1w")
    mask = foreground_mask(real)
    which = fullest(lesion & mask, shown)
    inside = mask[:, :, which]
    target = take(real, 2, which)
    own = take(segmenter.segment(real, mask).labels, 2, which)
    array = np.where(lesion[:, :, which] & inside, LESION, own.array)
    labels = LabelVolume(array, own.affine)
    for name in ("T2", "FLAIR"):
        source = files.read(folder / f"{name}.nii.gz", modality=name)
        complete = Complete(source, mask, 2, which)
        slices, subject = complete.slices(source), f"open_ms {folder.name}"
        yield Case(subject, slices, target, inside, own, labels, complete=complete)


def thinned(case: Case, shown: int) -> Case:
    """Of a volume, evenly spaced slices of the middle 70 % of the brain."""
    inside = np.flatnonzero(case.mask.any(axis=(0, 1)))
    if len(inside) <= shown:
        return case
    first, last = np.quantile(inside, [0.15, 0.85])
    step = max(1, int((last - first) / max(shown - 1, 1)))
    which = range(int(first), int(first) + step * shown, step)
    source, real, labels = (
        take(image, 2, which) for image in (case.source, case.real, case.real_labels)
    )
    complete = Complete(case.source, case.mask, 2, which)
    mask = case.mask[:, :, which]
    return Case(case.subject, source, real, mask, labels, adjacent=False, complete=complete)


def means(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """One line for each pair and method, of the values that are numbers."""
    lines = []
    for pair, method in dict.fromkeys((row["pair"], row["method"]) for row in rows):
        own = [row for row in rows if (row["pair"], row["method"]) == (pair, method)]
        line: dict[str, Any] = {"pair": pair, "method": method}
        for key in columns:
            # Rows of the expected error have other values than rows of samples.
            values = [row[key] for row in own if row.get(key) is not None]
            if not values:
                continue
            counts = all(isinstance(value, int) for value in values)
            line[key] = sum(values) if counts else float(np.mean(values))
        lines.append(line)
    return lines


def correlations(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the score goes with the Dice: over all images, and the mean of each pair."""
    lines = []
    for pair in dict.fromkeys(["all", *(row["pair"] for row in rows)]):
        own = [row for row in rows if pair in ("all", row["pair"])]
        score, dice = (np.array([row[key] for row in own]) for key in ("score", "dice"))
        warned = np.array([row["warning"] is not None for row in own])
        line: dict[str, Any] = {"pair": pair, "method": "regression", "images": len(own)}
        line |= {"score": float(score.mean()), "dice": float(dice.mean())}
        if len(own) > 2:
            line["spearman"] = float(spearmanr(score, dice).statistic)
            line["pearson"] = float(pearsonr(score, dice).statistic)
        if pair == "all" and len(own) > 2:
            slope, start = np.polyfit(score, dice, 1)
            line["score_at_good"] = float((GOOD - start) / slope)
        line["warned"] = int(warned.sum())
        if warned.any():
            line["dice_warned"] = float(dice[warned].mean())
        lines.append(line)
    return lines


def _with_others(
    before: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], measured: Sequence[str]
) -> list[dict[str, Any]]:
    """New rows, and those of before whose method was not measured now."""
    kept = [row for row in before if row["method"].split(",")[0] not in measured]
    return [*rows, *kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real scans, as of benchmarks/real.py")
    add_brains(parser, subjects=8, slices=6, seed=2718)
    parser.add_argument("--sampled", type=int, default=3, help="subjects that are sampled")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--regression", default=DEFAULT_MODEL)
    parser.add_argument("--diffusion", default=DIFFUSION)
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    parser.add_argument("--methods", default="regression,lmi-diffusion")
    parser.add_argument("--keep", action="store_true", help="keep the saved rows of other methods")
    parser.add_argument("--save", default="uncertainty")
    chosen = parser.parse_args()

    known = {"regression": chosen.regression, "lmi-diffusion": chosen.diffusion}
    wanted = chosen.methods.split(",")
    if unknown := {*wanted} - {*known}:
        parser.error(f"--methods {','.join(sorted(unknown))}: legal: {', '.join(known)}")
    models = {name: model for name, model in known.items() if name in wanted}
    single: dict[str, Any] = {name: load_translator(model) for name, model in models.items()}
    several: dict[str, Any] = {
        name: load_translator(model, samples=chosen.samples) for name, model in models.items()
    }
    regression = single.get("regression")
    segmenter = load_segmenter(chosen.segmenter)
    target = target_of(segmenter)
    unseen = ["PDw", "T2w", "FLAIR"]

    sampled, scored, scored_real, lesioned = [], [], [], []
    for case in phantom_cases(chosen, [target, *unseen], target, segmenter):
        if regression is not None:
            scored.append(score_translatability(case, regression, segmenter))
        if case.source.modality != target and int(case.subject) <= chosen.sampled:
            for name, one in single.items():
                sampled += score_samples(case, name, one, several[name])
    for case in lesion_phantoms(chosen, unseen, target, segmenter):
        lesioned += [score_lesions(case, name, one) for name, one in single.items()]
    if chosen.data:
        for _, case in real_cases(chosen.data, segmenter):
            own = thinned(case, chosen.slices)
            real = None
            if own.complete is not None:
                real = replace(own.complete, source=case.real)
            # The target itself is scored once a subject.
            for one in (own, replace(own, source=own.real, complete=real)):
                named = {"pair": f"{one.subject}, {one.pair}"}
                done = {row["pair"] for row in scored_real}
                if regression is not None and named["pair"] not in done:
                    scored_real.append(score_translatability(one, regression, segmenter) | named)
            named = {"pair": f"{own.subject}, {own.pair}"}
            sampled += [
                row | named for n in models for row in score_samples(own, n, single[n], several[n])
            ]
        for case in lesion_patient(chosen.data, segmenter, 2 * chosen.slices):
            named = {"pair": f"{case.subject}, {case.pair}"}
            lesioned += [score_lesions(case, name, one) | named for name, one in single.items()]

    if chosen.keep:
        before = (results_before(chosen.save) or {"rows": {}})["rows"]
        sampled, lesioned = (
            _with_others(before.get(name, []), rows, wanted)
            for name, rows in (("uncertainty", sampled), ("lesions", lesioned))
        )
        if regression is None:
            every = before.get("translatability", [])
            # The pairs of real scans begin with the name of the subject.
            scored = [row for row in every if ", " not in row["pair"]]
            scored_real = [row for row in every if ", " in row["pair"]]
    tables = {
        "uncertainty": means(sampled, UNCERTAINTY),
        "translatability": correlations(scored),
        "lesions": means(lesioned, LESIONS),
    }
    if scored_real:
        tables["translatability, real scans"] = correlations(scored_real)
    columns = {"uncertainty": UNCERTAINTY, "lesions": LESIONS}
    for title, lines in tables.items():
        show(title, lines, columns.get(title, TRANSLATABILITY))
    settings = saved_options(chosen, "data", "methods", "keep")
    rows = {"uncertainty": sampled, "translatability": scored + scored_real, "lesions": lesioned}
    save(chosen.save, settings, tables, rows)


if __name__ == "__main__":
    main()
