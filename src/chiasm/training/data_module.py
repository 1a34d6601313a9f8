"""The data of a training: the subjects of each part of the split, and their samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chiasm.errors import UsageError, explain
from chiasm.training.anatomies import AnatomySamples, find_label_maps
from chiasm.training.data import find_subjects, split
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings
from chiasm.training.sources import find_paired, split_unpaired

# Settings that change the samples.
_READ = {
    *("target", "sources", "anatomies", "grid", "context", "planes", "validation_share"),
    *("train_subjects", "validation_subjects", "seed"),
}


@dataclass(frozen=True)
class Split:
    """Subjects or samples for the training and for the validation."""

    train: Any
    validation: Any


class DataModule:
    """Finds and reads the scans of a folder. Stages that need the same samples share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: tuple[str, Split] | None = None

    def subjects(self, settings: TrainingSettings, kind: type[Objective]) -> Split:
        """Find and split the subjects, with the label maps and sources that the method needs.

        Raises
        ------
        CaseError, UsageError
            See `find_subjects`, `find_paired`, `split` and `split_unpaired`.
        """
        if settings.anatomies is not None:
            if kind.with_source != "none":
                problem = f"cannot be used, because {settings.method} learns from source images"
                raise UsageError(explain("anatomies", self.folder, problem, "null"))
            return Split(*split(find_label_maps(self.folder), settings))
        found = find_subjects(self.folder, settings.target, with_labels=kind.with_labels)
        if kind.with_source in ("paired", "any"):
            found = find_paired(self.folder, found, settings.sources)
        if kind.with_source != "unpaired":
            return Split(*split(found, settings))
        for name in settings.sources:
            found += find_subjects(self.folder, name)
        return Split(*split_unpaired(found, settings))

    def samples(
        self,
        settings: TrainingSettings,
        kind: type[Objective],
        subjects: Split,
        *,
        divisible_by: int,
        channels: Mapping[int, int],
    ) -> Split:
        """The `Samples` of these subjects, which are read once for stages that need the same."""
        wanted = settings.model_dump(mode="json", include=_READ)
        key = json.dumps(
            [wanted, kind.with_source, kind.with_labels, divisible_by, [*channels.items()]]
        )
        if self._read is None or self._read[0] != key:
            self._read = None  # the memory might not hold old and new samples together
            read: Any = kind.samples_class if settings.anatomies is None else AnatomySamples
            laid_out: dict[str, Any] = {"divisible_by": divisible_by, "channels": channels}
            train, validation = (
                read(side, settings, **laid_out) for side in (subjects.train, subjects.validation)
            )
            self._read = key, Split(train, validation)
        return self._read[1]
