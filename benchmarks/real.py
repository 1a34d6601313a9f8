"""Translators on real scans: agreement with the real T1's segmentation, and image scores.

    python benchmarks/real.py --data DIR

DIR holds ``open_ms/mni_1mm/patient07`` (T1, T2, FLAIR), ``spm12_templates`` (T1, PD) and
``itk_slices`` (BrainT1Slice.png, BrainProtonDensitySlice.png). Of others --slices evenly spaced
axial slices are judged: patients with tumours, ``brats_gli`` and ``brats2018/*``, and scans as they
came from the scanner, ``open_ms/native/PATIENT_SESSION``, whose brain `brain_mask` finds (pip
install -e ".[benchmarks]"); T1, T2 and FLAIR each. What is not there is left out and said so. No
set has expert tissue labels beside two modalities, so the reference is the shipped segmenter's
result on the real T1: Dice is agreement, not accuracy.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from brain_mask import brain_mask
from chiasm import api, files
from chiasm.evaluation.cases import Case, Reader, Session, find_sessions
from chiasm.evaluation.judge import real_name
from chiasm.evaluation.summary import summarise
from chiasm.head import head_mask
from chiasm.segmenters import Segmenter
from chiasm.translators import Translator
from chiasm.volume import TISSUES, Label, LabelVolume, Volume
from harness import add_methods, judge_all, methods, save, show

COLUMNS = ("psnr", "ssim", "dice_csf", "dice_grey", "dice_white", "dice", "gap_closed")
COLUMNS += ("seconds_per_slice",)


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


def sets(data: Path) -> Iterator[tuple[str, Volume, Volume, np.ndarray]]:
    """(subject, source, real T1, brain mask) of every set that is there."""
    patient = data / "open_ms" / "mni_1mm" / "patient07"
    if patient.is_dir():
        real = _volume(patient / "T1.nii.gz", "T1")
        mask = head_mask(real)
        for name in ("T2", "FLAIR"):
            yield "open_ms patient07", _volume(patient / f"{name}.nii.gz", name), real, mask
    else:
        print(f"left out, not there: {patient}")
    templates = data / "spm12_templates"
    if templates.is_dir():
        real = _volume(templates / "T1.nii.gz", "T1")
        priors = [files.read(templates / f"{name}.nii.gz") for name in ("grey", "white", "csf")]
        mask = sum(prior.array for prior in priors) > 0.5
        yield "spm12 template", _volume(templates / "PD.nii.gz", "PD"), real, mask
    else:
        print(f"left out, not there: {templates}")
    slices = data / "itk_slices"
    if slices.is_dir():
        real = _volume(slices / "BrainT1Slice.png", "T1")
        source = _volume(slices / "BrainProtonDensitySlice.png", "PD")
        yield "itk slice", source, real, _slice_brain(real)
    else:
        print(f"left out, not there: {slices}")


def cases(data: Path, segmenter: Segmenter) -> Iterator[tuple[str, Case]]:
    """The same as cases whose reference is the segmentation of the real T1; each its own set."""
    for subject, source, real, mask in sets(data):
        yield subject, Case(subject, source, real, mask, segmenter.segment(real, mask).labels)


def others(data: Path, segmenter: Segmenter, slices: int) -> Iterator[tuple[str, Case]]:
    """Name of the set, and a case of it."""
    target = segmenter.model.config.target
    for name in ("brats_gli", "brats2018", "open_ms/native"):
        if not (data / name).is_dir():
            print(f"left out, not there: {data / name}")
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
    parser.add_argument("--pictures", type=Path, help="also write source | translated | real here")
    add_methods(parser, save="real")
    chosen = parser.parse_args()

    compared = methods(chosen, edit_levels=(0.5,))
    segmenter = api.load_segmenter(chosen.segmenter)
    ceiling = real_name(segmenter.model.config.target)

    rows: list[dict[str, Any]] = []
    every = cases(chosen.data, segmenter)
    for name, case in chain(every, others(chosen.data, segmenter, chosen.slices)):
        rows += [{"set": name, **row} for row in judge_all(case, compared, segmenter)]
        print(f"{name}: {case.subject} {case.session} {case.pair}", flush=True)
        if chosen.pictures:
            shown = next(one.model for one in compared if one.name == "regression")
            picture(case, shown, segmenter, chosen.pictures)
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        for line in summarise(own, ceiling=ceiling):
            lines.append(line | {"pair": f"{name}, {line['pair']}"})
    show("Real scans: agreement with the real T1's segmentation", lines, COLUMNS)
    settings = {
        key: str(value) for key, value in vars(chosen).items() if key not in ("data", "pictures")
    }
    save(chosen.save, settings, lines, rows)


def picture(case: Case, translator: Translator, segmenter: Segmenter, folder: Path) -> None:
    """One PNG: source, translated, real T1, and both segmentations, on the fullest slice."""
    from PIL import Image

    from chiasm.report.page import best_slice, panel_picture

    image = translator.translate(case.source, case.mask).volume
    labels = segmenter.segment(image, case.mask).labels
    masked = [
        one.with_array(np.where(case.mask, one.array, 0)) for one in (case.source, image, case.real)
    ]
    index = best_slice(case.real.with_array(case.mask.astype(np.float32)))
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
