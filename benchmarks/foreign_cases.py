"""The scans on which foreign agreement and accuracy are measured, as they lie in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from chiasm import files
from chiasm.image.foreground import foreground_mask
from chiasm.image.modality import modality_name
from chiasm.image.resample import resample_onto
from chiasm.image.volume import TISSUES, LabelVolume, Volume
from chiasm.scoring.slices import axial_axis
from foreign_networks import ForeignNetwork, lattice
from harness import absent

HEAD, BRAIN = "whole head", "brain"
# The views of scans that are made coarser: their slices are averages of so many millimetres.
THICK = {f"{BRAIN}, {mm} mm slices": mm for mm in (5,)}


@dataclass(frozen=True)
class Scans:
    """The images of one case, in one space, each on its own grid.

    Attributes
    ----------
    source : Volume
        The scan that is translated. In a case of accuracy it may be a T1.
    real : Volume or None
        The real T1 of the same head.
    mask : bool array, shape of the source, or None
        The brain. None for a whole head of which nothing is known.
    truth : LabelVolume or None
        True tissues (2 grey matter, 3 white matter), if they are known.
    """

    source: Volume
    real: Volume | None
    mask: np.ndarray | None
    truth: LabelVolume | None = None


@dataclass(frozen=True)
class ForeignCase:
    """A case that has not been read yet: its names, and how it is read.

    ``view`` says whether the networks see a whole head or a brain alone, and how thick the slices
    are if they were made thicker.
    """

    group: str
    subject: str
    session: str
    modality: str
    view: str
    read: Callable[[], Scans]

    @property
    def name(self) -> str:
        parts = (self.group, self.subject, self.session, self.modality, self.view)
        return " ".join(filter(None, parts))


def foreign_cases(data: Path, extraction: ForeignNetwork) -> Iterator[ForeignCase]:
    """All cases of the sets that are there; a line names each set that is not.

    Parameters
    ----------
    data : Path
    extraction : ForeignNetwork
        Finds the brain in whole heads.
    """
    if not absent(patient := data / "open_ms" / "mni_1mm" / "patient07"):
        yield from _stripped("open_ms mni", patient, ("T2", "FLAIR"))
        yield from _thick("open_ms mni", patient, ("T2", "FLAIR"))
    if not absent(folder := data / "brats_gli"):
        yield from _stripped("brats_gli", folder, ("T2", "FLAIR"))
    if not absent(folder := data / "brats2018"):
        for subject in sorted(folder.glob("subject*")):
            yield from _stripped("brats2018", subject, ("T2", "FLAIR"))
    if not absent(folder := data / "open_ms" / "native"):
        for visit in sorted(folder.glob("patient*_session*")):
            subject, _, session = visit.name.partition("_")
            t1 = visit / "T1.nii.gz"
            for name in ("T2", "FLAIR"):
                scan = visit / f"{name}.nii.gz"
                yield from _heads("open_ms native", subject, session, scan, t1, extraction)
    if not absent(folder := data / "niivue_chris"):
        if find_spec("SimpleITK") is None:
            print('left out, its T1 is aligned by pip install -e ".[benchmarks]": niivue_chris')
        else:
            scans = (folder / "chris_PD.nii.gz", folder / "chris_t1.nii.gz")
            yield from _heads("niivue_chris", "chris", "", *scans, extraction, align=True)
    yield from _with_truth(data)


def _read(path: Path, modality: str) -> Volume:
    return files.read(path, modality=modality, spacing=1.0 if path.suffix == ".png" else None)


def _stripped(group: str, folder: Path, names: tuple[str, ...]) -> Iterator[ForeignCase]:
    """The cases of a folder whose scans are aligned and without a skull."""
    for name in names:

        def read(name: str = name) -> Scans:
            source = _read(folder / f"{name}.nii.gz", name)
            real = _read(folder / "T1.nii.gz", "T1")
            return Scans(source, real, foreground_mask(source))

        yield ForeignCase(group, folder.name, "", modality_name(name), BRAIN, read)


def _thick(group: str, folder: Path, names: tuple[str, ...]) -> Iterator[ForeignCase]:
    """The cases of `_stripped` with the source in thick axial slices."""
    for case in _stripped(group, folder, names):
        for view, mm in THICK.items():

            def read(case: ForeignCase = case, mm: int = mm) -> Scans:
                scans = case.read()
                source = thicker(scans.source, mm)
                return Scans(source, scans.real, foreground_mask(source))

            yield replace(case, view=view, read=read)


def thicker(scan: Volume, mm: float) -> Volume:
    """The scan in axial slices that are means over about ``mm`` millimetres."""
    axis = axial_axis(scan)
    count = max(1, round(mm / float(np.linalg.norm(scan.affine[:3, axis]))))
    kept = scan.shape[axis] // count
    rows = np.moveaxis(scan.array, axis, 0)[: kept * count]
    means = rows.reshape(kept, count, *rows.shape[1:]).mean(axis=1)
    affine = np.array(scan.affine)
    affine[:3, 3] += affine[:3, axis] * (count - 1) / 2
    affine[:3, axis] *= count
    return replace(scan, array=np.ascontiguousarray(np.moveaxis(means, 0, axis)), affine=affine)


@cache
def _aligned(t1: Path, scan: Path, modality: str) -> Volume:
    from rigid import aligned

    return aligned(_read(t1, "T1"), _read(scan, modality))


def _heads(
    group: str,
    subject: str,
    session: str,
    scan: Path,
    t1: Path,
    extraction: ForeignNetwork,
    *,
    align: bool = False,
) -> Iterator[ForeignCase]:
    """A whole head, once as it is and once with the brain that is found in its T1."""
    modality = modality_name(scan.name.partition(".")[0].rpartition("_")[2])
    for view in (HEAD, BRAIN):

        def read(view: str = view) -> Scans:
            source = _read(scan, modality)
            real = _aligned(t1, scan, modality) if align else _read(t1, "T1")
            mask = None
            if view == BRAIN:
                grid = lattice(real)
                found = extraction.segment(resample_onto(real, grid)).labels
                mask = resample_onto(found, source).array > 0
            return Scans(source, real, mask)

        yield ForeignCase(group, subject, session, modality, view, read)


def _with_truth(data: Path) -> Iterator[ForeignCase]:
    """The cases whose tissues are known."""
    if not absent(folder := data / "expert_labels"):
        for path in sorted(folder.glob("IBSR_??.nii.gz")):

            def expert(path: Path = path) -> Scans:
                t1 = _read(path, "T1")
                seg = files.read_labels(path.with_name(f"{path.name[:7]}_seg.nii.gz"))
                truth = LabelVolume(seg.array, t1.affine)
                return Scans(t1, t1, foreground_mask(t1), truth)

            yield ForeignCase("expert_labels", path.name[:7], "", "T1w", BRAIN, expert)
    if not absent(folder := data / "brainweb"):
        yield ForeignCase("brainweb", "phantom", "", "T1w", BRAIN, lambda: _brainweb(folder))
    labels = data / "brainweb" / "derived_labels_z47_csf1_gm2_wm3.png"
    if not absent(slices := data / "itk_slices") and labels.is_file():
        yield ForeignCase("itk slice", "phantom", "", "PDw", BRAIN, lambda: _slice(slices, labels))
    if not absent(templates := data / "spm12_templates"):
        for name in ("PD", "T2"):

            def template(name: str = name) -> Scans:
                grey, white, csf = (
                    files.read(templates / f"{one}.nii.gz") for one in ("grey", "white", "csf")
                )
                source = _read(templates / f"{name}.nii.gz", name)
                real = _read(templates / "T1.nii.gz", "T1")
                brain = grey.array + white.array + csf.array > 0.5
                return Scans(source, real, brain, _likeliest(grey, white, csf))

            yield ForeignCase("spm12 template", "average", "", modality_name(name), BRAIN, template)
    if not absent(folder := data / "clinical_ct"):
        yield ForeignCase("clinical_ct", "average", "", "CT", BRAIN, lambda: _ct(folder))


def _likeliest(grey: Volume, white: Volume, csf: Volume) -> LabelVolume:
    """The tissue of the largest prior, where they sum up to more than a half."""
    priors = np.stack([csf.array, grey.array, white.array])
    labels = np.where(priors.sum(0) > 0.5, 1 + priors.argmax(0), 0)
    return LabelVolume(labels.astype(np.int16), grey.affine)


def _ct(folder: Path) -> Scans:
    source = _read(folder / "scct_unsmooth_SS_0.01.nii.gz", "CT")
    csf, grey, white = (files.read(folder / f"sc{name}.nii") for name in ("csf", "grey", "white"))
    return Scans(source, None, foreground_mask(source), _likeliest(grey, white, csf))


def _brainweb(folder: Path) -> Scans:
    """T1 and true tissues of the BrainWeb phantom: 2 mm, stored as z, y, x."""
    import zlib

    def raw(name: str) -> np.ndarray:
        # Only the first member of a file is read; more may follow it.
        packed = zlib.decompressobj(wbits=31).decompress((folder / name).read_bytes())
        return np.frombuffer(packed, np.uint8)[: 91 * 109 * 91].reshape(91, 109, 91).T

    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -90, -126, -72
    t1 = Volume(raw("t1.rawb.gz").astype(np.float32), affine, modality="T1w")
    tissues = [Volume(raw(f"{one}.rawb.gz") / 255, affine) for one in ("gm", "wm", "csf")]
    mask = sum(one.array for one in tissues) > 0.5
    return Scans(t1, t1, mask, _likeliest(*tissues))


def _slice(slices: Path, labels: Path) -> Scans:
    source = _read(slices / "BrainProtonDensitySlice.png", "PD")
    real = _read(slices / "BrainT1Slice.png", "T1")
    # The rows of the label map run from the back of the head to its front.
    truth = LabelVolume(files.read_labels(labels).array[:, ::-1], source.affine, TISSUES)
    return Scans(source, real, truth.array > 0, truth)
