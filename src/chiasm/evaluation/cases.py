"""The cases of a comparison: which files belong together, read onto one grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chiasm import files
from chiasm.errors import CaseError, explain
from chiasm.evaluation.common_grid import resample_onto
from chiasm.evaluation.slices import axial_axis, spread, take
from chiasm.head import head_mask
from chiasm.intensity import on_unit_range
from chiasm.modality import modality_from_filename
from chiasm.subject import subject_of
from chiasm.volume import LabelVolume, Volume

Segment = Callable[[Volume, np.ndarray], LabelVolume]


@dataclass(frozen=True)
class Case:
    """A source image, and what a translation of it is judged by; all on the source's grid.

    Attributes
    ----------
    subject : str
        Whose it is; intervals are over subjects.
    session : str
        Which of the subject's sessions; empty where there is one.
    source, real : Volume
        The image to be translated, and the real one of the target modality.
    mask : bool array, shape of the source
        The head: what translators and segmenters are given, and where images are compared.
    real_labels : LabelVolume
        The segmentation of the real target: the ceiling.
    truth : LabelVolume or None
        Label map of the anatomy; without one, agreement with ``real_labels`` is judged.
    adjacent : bool
        Whether slices that are neighbours in the array were neighbours in the scan.
    facts : dict
        Numbers that its rows carry along.
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

    @property
    def pair(self) -> str:
        """Source and target modality, ``"PDw→T1w"``."""
        return f"{self.source.modality}→{self.real.modality}"

    @property
    def reference(self) -> LabelVolume:
        """What segmentations are compared with: the truth, else that of the real target."""
        return self.real_labels if self.truth is None else self.truth

    def on_unit_range(self, image: Volume) -> Volume:
        """An image on [0, 1] by its own percentiles in the head, 0 outside; not clipped."""
        unit = on_unit_range(image, self.mask)
        return unit.with_array(np.where(self.mask, unit.array, 0))

    @cached_property
    def real_on_unit_range(self) -> Volume:
        """The real target, as `on_unit_range` has it."""
        return self.on_unit_range(self.real)


@dataclass(frozen=True)
class Session:
    """The files of one session of a subject: images by modality, and the maps beside them."""

    subject: str
    session: str
    target: Path
    sources: Mapping[str, Path]
    truth: Path | None = None
    mask: Path | None = None

    @property
    def name(self) -> str:
        """Subject and session in one word."""
        return "_".join(filter(None, (self.subject, self.session)))


def find_sessions(
    folder: Path, target: str, sources: Sequence[str] | None = None
) -> tuple[list[Session], list[str]]:
    """The sessions below a folder that have the target modality and a source.

    Files belong together as `chiasm.subject.subject_of` says. Of several files of one kind the
    one of the shortest name is taken (``sub-01_T1w``, not ``sub-01_acq-fast_T1w``).

    Parameters
    ----------
    folder : Path
    target : str
        BIDS suffix.
    sources : sequence of str, optional
        BIDS suffixes; by default every modality that is there.

    Returns
    -------
    sessions, left_out
        In the order of their names; and, in words, those that could not be used.

    Raises
    ------
    CaseError
        The folder does not exist, holds no image of the target, or none beside it of a source;
        a kind of which two files have equally short names; truth for some sessions alone.
    """
    images = [
        (path, modality)
        for path in files.find_images(folder)
        if (modality := modality_from_filename(path.name)) is not None
    ]
    if target not in {modality for _, modality in images}:
        legal = f"files whose names end with {target}, e.g. sub-01_{target}.nii.gz"
        raise CaseError(explain("-i", folder, f"holds no {target} image", legal))
    kinds = ("dseg", "mask")
    maps = [(path, kind) for kind in kinds for path in files.find_maps(folder, kind)]
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path, kind in images + maps:
        found.setdefault(subject_of(path, folder), {}).setdefault(kind, []).append(path)
    sessions, left_out = [], []
    for (subject, session), groups in sorted(found.items()):
        wanted = [one for one in sources or sorted(groups) if one not in (target, *kinds)]
        present = {name: _one_of(groups[name]) for name in wanted if name in groups}
        name = "_".join(filter(None, (subject, session)))
        if target not in groups or not present:
            missing = target if target not in groups else "of " + (", ".join(wanted) or "a source")
            left_out.append(f"{name}: no image {missing}")
            continue
        truth, mask = (_one_of(groups[kind]) if kind in groups else None for kind in kinds)
        sessions.append(Session(subject, session, _one_of(groups[target]), present, truth, mask))
    if not sessions:
        wanted_words = ", ".join(sources) if sources else "another modality"
        problem = f"holds no {target} image with one of {wanted_words} beside it"
        raise CaseError(explain("-i", folder, problem, "both for at least one subject"))
    without = [one.name for one in sessions if one.truth is None]
    if without and len(without) < len(sessions):
        problem = f"holds no label map (_dseg) of {without[0]}, but of others"
        raise CaseError(explain("-i", folder, problem, "one for every subject, or for none"))
    return sessions, left_out


def _one_of(paths: Sequence[Path]) -> Path:
    """The file of the shortest name, in number of entities; two of them are refused."""
    lengths = [files.stem(path).count("_") for path in paths]
    shortest = [p for p, n in zip(paths, lengths, strict=True) if n == min(lengths)]
    if len(shortest) > 1:
        problem = f"is one of two of its kind for one subject, beside {shortest[1]}"
        raise CaseError(explain("-i", shortest[0], problem, "one of a kind, or one named shorter"))
    return shortest[0]


class Reader:
    """Reads the cases of one session; what they share is read and segmented once.

    Parameters
    ----------
    session : Session
    segment : callable
        Of an image of the target modality and its head: its label map.
    slices : int, optional
        How many evenly spaced axial slices of the head are kept; by default the whole image.

    Raises
    ------
    CaseError
        A file cannot be read.
    """

    def __init__(self, session: Session, segment: Segment, slices: int | None = None) -> None:
        self.session, self.segment, self.slices = session, segment, slices
        self.target = files.read(session.target)
        self.truth = files.read_labels(session.truth) if session.truth else None
        self.brain = files.read_labels(session.mask) if session.mask else None
        self._segmented: list[tuple[Volume, np.ndarray, LabelVolume]] = []

    def read(self, modality: str) -> Case:
        """The case of one source: target, truth and head on the grid of the source.

        The head is the mask beside the images if there is one, else it is found on the source;
        it ends where the field of view of the real target does.

        Raises
        ------
        CaseError
            The image cannot be read, or its head lies outside the real target.
        """
        path = self.session.sources[modality]
        source = files.read(path, modality=modality)
        if self.brain is None:
            mask = head_mask(source)
        else:
            mask = resample_onto(self.brain, source).array > 0
        mask &= _field_of_view(self.target, source)
        if not mask.any():
            problem = f"shows nothing of the head that {self.session.target} shows"
            raise CaseError(explain("-i", path, problem, "scans that share scanner space"))
        step = 1
        if self.slices is not None:
            axis = axial_axis(source)
            which = spread(mask, axis, self.slices)
            source, mask, step = take(source, axis, which), np.take(mask, which, axis), which.step
        real = _onto(self.target, source)
        return Case(
            self.session.subject,
            source,
            real,
            mask,
            self._labels_of(real, mask),
            None if self.truth is None else _onto(self.truth, source),
            self.session.session,
            adjacent=step == 1,
        )

    def _labels_of(self, real: Volume, mask: np.ndarray) -> LabelVolume:
        for known, head, labels in self._segmented:
            if known.same_grid(real) and (head == mask).all():
                return labels
        labels = self.segment(real, mask)
        self._segmented.append((real, mask, labels))
        return labels


def _onto(image: Any, source: Volume) -> Any:
    return image if image.same_grid(source) else resample_onto(image, source)


def _field_of_view(target: Volume, source: Volume) -> np.ndarray:
    """Which voxels of the source the target's field of view covers."""
    everywhere = LabelVolume(np.ones(target.shape, np.int16), target.affine, labels=())
    return _onto(everywhere, source).array > 0
