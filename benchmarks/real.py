"""Translators on real scans: agreement with the real T1's segmentation, and image scores.

    python benchmarks/real.py --data DIR [--sets NAME,…] [--only METHOD,…]

DIR holds ``open_ms/mni_1mm/patient07`` (T1, T2, FLAIR), ``spm12_templates`` (T1, PD) and
``itk_slices`` (BrainT1Slice.png, BrainProtonDensitySlice.png). The other sets have T1, T2 and
FLAIR, and --slices evenly spaced axial slices of each scan are scored. They are patients with
tumours (``brats_gli`` and ``brats2018/*``) and scans as they came from the scanner
(``open_ms/native/PATIENT_SESSION``), whose brain `brain_mask` finds (pip install -e
".[benchmarks]"). A line names each set that is not there. No set has expert tissue labels beside
two modalities, so that the reference is the shipped segmenter's result on the real T1: Dice is
agreement, not accuracy. With --sets, the named sets alone are measured, and the saved rows of the
others stay.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from brain_mask import brain_mask
from chiasm import files
from chiasm.comparison.cases import Case, Reader, Session, find_sessions
from chiasm.comparison.score import real_name
from chiasm.comparison.summary import summarise
from chiasm.image.foreground import foreground_mask
from chiasm.image.volume import TISSUES, Label, LabelVolume, Volume
from chiasm.pipeline import Pipeline
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter
from harness import (
    absent,
    add_methods,
    methods,
    save,
    score_all,
    show,
    target_of,
    with_rows_before,
)
from phantom import COLUMNS

SETS = (
    *("open_ms patient07", "spm12 template", "itk slice"),
    *("brats_gli", "brats2018", "open_ms native"),
)


def _volume(path: Path, modality: str) -> Volume:
    return files.read(path, modality=modality, spacing=1.0 if path.suffix == ".png" else None)


def _slice_brain(real: Volume) -> np.ndarray:
    """A rough brain of a whole-head slice: what the scalp's rim encloses, eroded away from it."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    plane = real.array[:, :, 0]
    tissue = ndimage.binary_opening(plane > threshold_otsu(plane) * 0.7, iterations=4)
    parts, _ = ndimage.label(tissue)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=6))
    return brain[:, :, None]


def sets(
    data: Path, wanted: Sequence[str] = SETS
) -> Iterator[tuple[str, Volume, Volume, np.ndarray]]:
    """(subject, source, real T1, brain mask) of every wanted set that is there."""
    patient = data / "open_ms" / "mni_1mm" / "patient07"
    if "open_ms patient07" in wanted and not absent(patient):
        real = _volume(patient / "T1.nii.gz", "T1")
        mask = foreground_mask(real)
        for name in ("T2", "FLAIR"):
            yield "open_ms patient07", _volume(patient / f"{name}.nii.gz", name), real, mask
    templates = data / "spm12_templates"
    if "spm12 template" in wanted and not absent(templates):
        real = _volume(templates / "T1.nii.gz", "T1")
        priors = [files.read(templates / f"{name}.nii.gz") for name in ("grey", "white", "csf")]
        mask = sum(prior.array for prior in priors) > 0.5
        yield "spm12 template", _volume(templates / "PD.nii.gz", "PD"), real, mask
    slices = data / "itk_slices"
    if "itk slice" in wanted and not absent(slices):
        real = _volume(slices / "BrainT1Slice.png", "T1")
        source = _volume(slices / "BrainProtonDensitySlice.png", "PD")
        yield "itk slice", source, real, _slice_brain(real)


def cases(
    data: Path, segmenter: Segmenter, wanted: Sequence[str] = SETS
) -> Iterator[tuple[str, Case]]:
    """The same as cases whose reference is the segmentation of the real T1; each its own set."""
    for subject, source, real, mask in sets(data, wanted):
        yield subject, Case(subject, source, real, mask, segmenter.segment(real, mask).labels)


def others(
    data: Path, segmenter: Segmenter, slices: int, wanted: Sequence[str]
) -> Iterator[tuple[str, Case]]:
    """Name of the set, and a case of it, of every other wanted set that is there."""
    target = target_of(segmenter)
    for name in ("brats_gli", "brats2018", "open_ms/native"):
        if name.replace("/", " ") not in wanted or absent(data / name):
            continue
        if name == "open_ms/native" and find_spec("SimpleITK") is None:
            print(f'left out, its brains need pip install -e ".[benchmarks]": {name}')
            continue
        sessions, _ = find_sessions(data / name, target, ["T2w", "FLAIR"])
        for session in sessions:
            with tempfile.TemporaryDirectory() as folder:
                if name == "open_ms/native":
                    session = with_brain(session, Path(folder))
                reader = Reader(session, lambda *one: segmenter.segment(*one).labels, slices)
                for source in session.sources:
                    yield name.replace("/", " "), reader.read(source)


def with_brain(session: Session, folder: Path) -> Session:
    """The session with a brain mask, and the patient alone as its subject."""
    t1 = files.read(session.target)
    path = folder / "brain_mask.nii.gz"
    array = brain_mask(t1).astype(np.int16)
    files.write(LabelVolume(array, t1.affine, (TISSUES[0], Label(1, "brain", "#ffffff"))), path)
    patient, _, visit = session.subject.rpartition("_")
    return replace(session, subject=patient, session=visit, mask=path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--pictures", type=Path, help="also write source | translated | real here")
    add_methods(parser, save="real")
    chosen = parser.parse_args()
    wanted = chosen.sets.split(",")
    if unknown := {*wanted} - {*SETS}:
        parser.error(f"--sets {','.join(sorted(unknown))}: no such set; legal: {', '.join(SETS)}")

    segmenter = load_segmenter(chosen.segmenter)
    compared = methods(chosen, (0.5,), segmenter)
    ceiling = real_name(target_of(segmenter))

    rows: list[dict[str, Any]] = []
    every = cases(chosen.data, segmenter, wanted)
    more = others(chosen.data, segmenter, chosen.slices, wanted)
    for name, case in chain(every, more):
        rows += [{"set": name, **row} for row in score_all(case, compared)]
        print(f"{name}: {case.subject} {case.session} {case.pair}", flush=True)
        if chosen.pictures:
            shown = next(one for one in compared if one.name == "regression")
            picture(case, shown.pipeline, chosen.pictures)
    part = {*wanted} != {*SETS}
    if chosen.only or part:
        rows = with_rows_before(chosen.save, rows, keep_methods=bool(chosen.only), keep_sets=part)
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        for line in summarise(own, ceiling=ceiling):
            lines.append(line | {"pair": f"{name}, {line['pair']}"})
    show("Real scans: agreement with the real T1's segmentation", lines, COLUMNS)
    left = ("data", "pictures", "only", "sets")
    settings = {key: str(value) for key, value in vars(chosen).items() if key not in left}
    save(chosen.save, settings, lines, rows)


def picture(case: Case, pipeline: Pipeline, folder: Path) -> None:
    """One PNG: source, translated, real T1, and both segmentations, on the fullest slice."""
    from PIL import Image

    from chiasm.page.write import best_slice, panel_picture

    made = pipeline.process(case.source, case.mask)
    image, labels = made.translation, made.labels
    assert image is not None  # the pipeline has a translator and a segmenter
    assert labels is not None
    masked = [
        one.with_array(np.where(case.mask, one.array, 0)) for one in (case.source, image, case.real)
    ]
    index = best_slice(case.real, case.mask)
    panels = [panel_picture("", panel, index) for panel in (*masked, labels, case.reference)]
    height = max(panel.height for panel in panels)
    strip = Image.new("RGB", (sum(panel.width for panel in panels), height))
    left = 0
    for panel in panels:
        strip.paste(panel, (left, 0))
        left += panel.width
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{case.subject}_{case.source.modality}".replace(" ", "_")
    strip.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
