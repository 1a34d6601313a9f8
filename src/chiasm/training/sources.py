"""Finds the source images of methods that learn from other modalities than the target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chiasm import files
from chiasm.errors import CaseError, UsageError, explain
from chiasm.files.subject import subject_of
from chiasm.image.modality import split_modality
from chiasm.training.batch import Batch
from chiasm.training.data import Samples, Subject, find_subjects, split
from chiasm.training.objective import Objective
from chiasm.training.settings import Augmentation, TrainingSettings


def check_sources(kind: type[Objective], settings: TrainingSettings) -> None:
    """Raise `UsageError` if the sources are missing, not used, or include the target."""
    if kind.with_source == "none" and settings.sources:
        problem = f"is not used, because {settings.method} learns from {settings.target} alone"
        legal = "no sources, or a method that learns from them"
        raise UsageError(explain("--sources", ",".join(settings.sources), problem, legal))
    legal = f"other modalities than {settings.target}, e.g. --sources PD"
    if kind.with_source != "none" and not settings.sources:
        pairs = "images of several modalities"
        read = pairs if kind.with_source == "any" else f"{kind.with_source} images"
        problem = f"is missing, because {settings.method} learns from {read}"
        raise UsageError(explain("--sources", "", problem, legal))
    if settings.target in settings.sources:
        raise UsageError(explain("--sources", settings.target, "is the target", legal))


def find_paired(folder: Path, subjects: Sequence[Subject], sources: list[str]) -> list[Subject]:
    """Add the scans of every source to the subjects.

    A source scan is first sought in the same folder, under the same name except for the modality
    (``sub-01_PDw.nii.gz`` for ``sub-01_T1w.nii.gz``). If it is not there, the only scan of the same
    subject and session is taken from any folder (IXI has a folder for each modality).

    Raises
    ------
    CaseError
        A subject has no scan of a source, or several that could be meant.
    """
    beside: dict[tuple[str, Path, str], Subject] = {}
    of_session: dict[tuple[str, str, str], list[Subject]] = defaultdict(list)
    for modality in sources:
        for scan in find_subjects(folder, modality):
            beside[modality, *_folder_and_name(scan.image)] = scan
            of_session[modality, *subject_of(scan.image, folder)].append(scan)
    paired = []
    for subject in subjects:
        place, session = _folder_and_name(subject.image), subject_of(subject.image, folder)
        found = []
        for modality in sources:
            near = beside.get((modality, *place))
            scans = [near] if near else of_session[modality, *session]
            if len(scans) != 1:
                problem = f"has {len(scans) or 'no'} {modality} image{'s' * bool(scans)} beside it"
                legal = f"{'_'.join(filter(None, (place[1], modality)))}.nii.gz in the same folder"
                raise CaseError(explain("-i", subject.image, problem, legal))
            found += scans
        paired.append(replace(subject, sources=tuple(found)))
    return paired


def _folder_and_name(image: Path) -> tuple[Path, str]:
    """A scan's folder, and its name without the modality and the suffix."""
    return image.parent, split_modality(files.stem(image))[0]


def split_unpaired(
    subjects: Sequence[Subject], settings: TrainingSettings
) -> tuple[list[Subject], list[Subject]]:
    """Split scans of target and sources as `split` does, so that no training subject has both.

    Of the training subjects that have both, one half keeps the target scans and the other half
    keeps the source scans. The validation subjects keep all scans.

    Raises
    ------
    CaseError
        A part of the split has no target scan or no source scan; see also `split`.
    UsageError
        See `split`.
    """
    train, validation = split(subjects, settings)
    with_target = {one.name for one in train if one.modality == settings.target}
    shared = sorted(with_target & {one.name for one in train if one.modality in settings.sources})
    drawn = np.random.default_rng((settings.seed, 0, 0, 1)).permutation(shared)
    half = len(shared) // 2
    left_out = {(str(name), False) for name in drawn[:half]}
    left_out |= {(str(name), True) for name in drawn[half:]}
    train = [one for one in train if (one.name, one.modality in settings.sources) not in left_out]
    for side, scans in (("training", train), ("validation", validation)):
        if len({one.modality in settings.sources for one in scans}) < 2:
            problem = (
                f"leaves {side} with {' and '.join(sorted({s.modality for s in scans}))} alone"
            )
            legal = "more subjects, or an explicit split whose parts have target and source scans"
            raise CaseError(explain("split", len(scans), problem, legal))
    return train, validation


class UnpairedSamples(Samples):
    """Samples of the target, with samples of the sources that are drawn independently.

    Parameters
    ----------
    subjects : sequence of Subject
        Scans of the target and of the sources.
    settings, \\*\\*network
        As in `Samples`.
    """

    def __init__(
        self, subjects: Sequence[Subject], settings: TrainingSettings, **network: Any
    ) -> None:
        targets = [one for one in subjects if one.modality == settings.target]
        super().__init__(targets, settings, **network)
        others = [one for one in subjects if one.modality != settings.target]
        self.others = Samples(others, settings, **network)

    def check(self, augmentation: Augmentation) -> None:
        super().check(augmentation)
        self.others.check(augmentation)

    def batch(self, size: int, draw: tuple[int, ...], augmentation: Augmentation | None) -> Batch:
        batch = super().batch(size, draw, augmentation)
        other = self.others.batch(size, (*draw, 1), augmentation)
        return replace(batch, source=other.image, source_mask=other.mask)
