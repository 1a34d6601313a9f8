"""The cases of a comparison: files that belong together, read onto one grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chiasm import files
from chiasm.errors import CaseError, explain
from chiasm.files.beside import fitted_onto, foreground_beside
from chiasm.files.find import LABELS, find_maps, find_scans
from chiasm.files.subject import subject_of
from chiasm.image.foreground import foreground_mask
from chiasm.image.intensity import on_unit_range
from chiasm.image.resample import resample_onto
from chiasm.image.volume import LabelVolume, Volume
from chiasm.scoring.slices import axial_axis, spread, take

Segment = Callable[[Volume, np.ndarray], LabelVolume]


@dataclass(frozen=True)
class Complete:
    """The complete scan of a case, for methods that look at neighbouring slices.

    Attributes
    ----------
    source : Volume
    mask : bool array, shape of the source
    axis : int
        The array axis along which the slices are stacked.
    kept : range
        The slices that the case holds.
    """

    source: Volume
    mask: np.ndarray
    axis: int
    kept: range

    def slices(self, image: Any) -> Any:
        """The kept slices of an image or a label map; None stays None."""
        return None if image is None else take(image, self.axis, self.kept)


@dataclass(frozen=True)
class Case:
    """A source image and the references for its translation, all on the source's grid.

    Attributes
    ----------
    subject : str
        The subject. Intervals are over subjects.
    session : str
        The session of the subject; empty if there is only one.
    source, real : Volume
        The image to be translated, and the real image of the target modality.
    mask : bool array, shape of the source
        The foreground. Translators and segmenters are given it, and images are compared in it.
    real_labels : LabelVolume
        The segmentation of the real target image, which is the ceiling.
    truth : LabelVolume or None
        The label map of the anatomy. Without one, scores are agreement with ``real_labels``.
    adjacent : bool
        Whether neighbouring slices of the array were neighbours in the scan.
    warnings : tuple of str
        What looks wrong about the source or its mask, in whole sentences.
    facts : dict
        Numbers that are copied into the rows of the case.
    complete : Complete or None
        If the case holds some slices of a scan, the complete scan.
    """

    subject: str
    source: Volume
    real: Volume
    mask: np.ndarray
    real_labels: LabelVolume
    truth: LabelVolume | None = None
    session: str = ""
    adjacent: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    complete: Complete | None = None

    @property
    def pair(self) -> str:
        """Source and target modality, such as ``"PDw→T1w"``."""
        return f"{self.source.modality}→{self.real.modality}"

    @property
    def reference(self) -> LabelVolume:
        """The truth if there is one, otherwise the segmentation of the real target image."""
        return self.real_labels if self.truth is None else self.truth

    def on_unit_range(self, image: Volume) -> Volume:
        """An image scaled by its own percentiles in the foreground, not clipped; 0 outside."""
        unit = on_unit_range(image, self.mask)
        return unit.with_array(np.where(self.mask, unit.array, 0))

    @cached_property
    def real_on_unit_range(self) -> Volume:
        """The real target image, scaled by `on_unit_range`."""
        return self.on_unit_range(self.real)


@dataclass(frozen=True)
class Session:
    """The files of one session of a subject: images by modality, label map and brain mask."""

    subject: str
    session: str
    target: Path
    sources: Mapping[str, Path]
    truth: Path | None = None
    mask: Path | None = None

    @property
    def name(self) -> str:
        """Subject and session, joined by ``_``."""
        return "_".join(filter(None, (self.subject, self.session)))


def find_sessions(
    folder: Path, target: str, sources: Sequence[str] | None = None
) -> tuple[list[Session], list[str]]:
    """Find the sessions below a folder that have the target modality and a source.

    `chiasm.files.subject.subject_of` tells which files belong together. If there are several files
    of one kind, the one with the fewest entities in its name is taken (``sub-01_T1w``, not
    ``sub-01_acq-fast_T1w``).

    Parameters
    ----------
    folder : Path
    target : str
        BIDS suffix of the target modality.
    sources : sequence of str, optional
        BIDS suffixes of the source modalities; by default all modalities in the folder.

    Returns
    -------
    sessions : list of Session
        In the order of their names.
    left_out : list of str
        Whole sentences that say what was not used, and why.

    Raises
    ------
    CaseError
        The folder does not exist; no session has an image of the target and of a source; two files
        of one kind have equally short names; or only some of the sessions have a label map.
    """
    search = find_scans([folder])
    if search.errors and not search.scans:
        raise search.errors[0]
    sentences = [
        sentence
        for reason, sentence in zip(search.left_out, search.sentences(), strict=True)
        if reason != LABELS  # label maps and masks are used below
    ]
    images = [(scan.path, scan.modality) for scan in search.scans if scan.modality is not None]
    if target not in {modality for _, modality in images}:
        legal = f"files whose names end with {target}, e.g. sub-01_{target}.nii.gz"
        problem = f"holds no {target} image that can be used"
        reasons = [*sentences, *(f"{error}." for error in search.errors)]
        problem += f". {' '.join(reasons)}".removesuffix(".") if reasons else ""
        raise CaseError(explain("-i", folder, problem, legal))
    kinds: tuple[Literal["dseg"], Literal["mask"]] = ("dseg", "mask")
    maps = [(path, kind) for kind in kinds for path in find_maps(folder, kind)]
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path, kind in images + maps:
        found.setdefault(subject_of(path, folder), {}).setdefault(kind, []).append(path)
    sessions, left_out = [], [*sentences, *map(str, search.errors)]
    for (subject, session), groups in sorted(found.items()):
        wanted = [one for one in sources or sorted(groups) if one not in (target, *kinds)]
        present = {name: _one_of(groups[name]) for name in wanted if name in groups}
        name = "_".join(filter(None, (subject, session)))
        if target not in groups or not present:
            named = target if target not in groups else " or ".join(wanted)
            lacks = f"{named} image" if named else "image of another modality"
            left_out.append(f"{name} was left out because it has no {lacks}.")
            continue
        truth = _one_of(groups["dseg"]) if "dseg" in groups else None
        # A mask of one scan alone is found beside that scan; this one is of the whole session.
        masks = groups.get("mask", [])
        mask = masks[0] if len(masks) == 1 else None
        sessions.append(Session(subject, session, _one_of(groups[target]), present, truth, mask))
    if not sessions:
        wanted_words = " or ".join(sources) if sources else "another modality"
        problem = f"holds no subject with a {target} image and an image of {wanted_words}"
        raise CaseError(explain("-i", folder, problem, "both images for at least one subject"))
    without = [one.name for one in sessions if one.truth is None]
    if without and len(without) < len(sessions):
        problem = f"holds label maps of other subjects, but no label map (_dseg) of {without[0]}"
        raise CaseError(
            explain("-i", folder, problem, "a label map for every subject, or for none")
        )
    return sessions, left_out


def _one_of(paths: Sequence[Path]) -> Path:
    """The file with the fewest entities in its name; two such files are refused."""
    lengths = [files.stem(path).count("_") for path in paths]
    shortest = [p for p, n in zip(paths, lengths, strict=True) if n == min(lengths)]
    if len(shortest) > 1:
        problem = f"and {shortest[1]} are two images of one kind for one subject"
        legal = "one image of each kind, or one with a shorter name than the others"
        raise CaseError(explain("-i", shortest[0], problem, legal))
    return shortest[0]


class Reader:
    """Reads the cases of one session. The files that they share are read and segmented once.

    Parameters
    ----------
    session : Session
    segment : callable
        Takes an image of the target modality and its foreground, and returns a label map.
    slices : int, optional
        The number of evenly spaced axial slices of the foreground that are kept; by default all.

    Raises
    ------
    CaseError
        A file cannot be read.
    """

    def __init__(self, session: Session, segment: Segment, slices: int | None = None) -> None:
        self.session, self.segment, self.slices = session, segment, slices
        self.target = files.read(session.target)
        self.truth = files.read_labels(session.truth) if session.truth else None
        self.brain = files.read_mask(session.mask) if session.mask else None
        self._segmented: list[tuple[Volume, np.ndarray, LabelVolume]] = []

    def read(self, modality: str) -> Case:
        """Read the case of one source: target, truth and foreground on the grid of the source.

        The foreground is the mask beside the images. If there is no such mask, it is found on the
        source. Voxels outside the field of view of the real target image do not belong to it.

        Raises
        ------
        CaseError
            The image cannot be read, or its foreground lies outside the real target image.
        """
        path = self.session.sources[modality]
        source = files.read(path, modality=modality)
        beside, warnings, _ = foreground_beside(path, source)
        if beside is None and self.brain is not None:
            beside, warnings = fitted_onto(self.brain, source, str(self.session.mask))
        mask = foreground_mask(source) if beside is None else np.array(beside)
        mask &= _field_of_view(self.target, source)
        if not mask.any():
            problem = f"and {self.session.target} show no common part of the foreground"
            raise CaseError(explain("-i", path, problem, "scans that share scanner space"))
        real, complete = _onto(self.target, source), None
        # A segmenter may look at neighbouring slices, so the complete image is segmented.
        labels = self._labels_of(real, mask)
        if self.slices is not None:
            axis = axial_axis(source)
            complete = Complete(source, mask, axis, spread(mask, axis, self.slices))
            source, real, labels = (complete.slices(one) for one in (source, real, labels))
            mask = np.take(mask, complete.kept, axis)
        return Case(
            self.session.subject,
            source,
            real,
            mask,
            labels,
            None if self.truth is None else _onto(self.truth, source),
            self.session.session,
            adjacent=complete is None or complete.kept.step == 1,
            warnings=warnings,
            complete=complete,
        )

    def _labels_of(self, real: Volume, mask: np.ndarray) -> LabelVolume:
        for known, foreground, labels in self._segmented:
            if known.same_grid(real) and (foreground == mask).all():
                return labels
        labels = self.segment(real, mask)
        self._segmented.append((real, mask, labels))
        return labels


def _onto(image: Any, source: Volume) -> Any:
    return image if image.same_grid(source) else resample_onto(image, source)


def _field_of_view(target: Volume, source: Volume) -> np.ndarray:
    """A mask of the source's voxels that lie in the target's field of view."""
    everywhere = LabelVolume(np.ones(target.shape, np.int16), target.affine, labels=())
    return _onto(everywhere, source).array > 0
