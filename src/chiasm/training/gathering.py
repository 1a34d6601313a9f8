"""What a training reads: which subjects, on which side of the split, and their samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chiasm.training.data import Samples, find_subjects, split
from chiasm.training.modalities import AnyToAnySamples
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings
from chiasm.training.sources import UnpairedSamples, find_paired, split_unpaired

# Settings that decide what is read, and how it is laid out.
_READ = {
    *("target", "sources", "grid", "context", "planes", "merge_labels", "validation_share"),
    *("train_subjects", "validation_subjects", "seed"),
}


@dataclass(frozen=True)
class Sides:
    """Subjects, or samples, to train on and to validate on."""

    train: Any
    validation: Any


class Gathering:
    """Finds and reads the scans of a folder; stages that want the same samples share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: tuple[str, Sides] | None = None

    def subjects(self, settings: TrainingSettings, kind: type[Objective]) -> Sides:
        """The two lists of subjects, with their label maps and sources as the method needs them.

        Raises
        ------
        CaseError, UsageError
            As `find_subjects`, `find_paired` and `split`.
        """
        found = find_subjects(self.folder, settings.target, with_labels=kind.with_labels)
        if kind.with_source in ("paired", "any"):
            found = find_paired(self.folder, found, settings.sources)
        if kind.with_source != "unpaired":
            return Sides(*split(found, settings))
        for name in settings.sources:
            found += find_subjects(self.folder, name)
        return Sides(*split_unpaired(found, settings))

    def samples(
        self,
        settings: TrainingSettings,
        kind: type[Objective],
        subjects: Sides,
        *,
        divisible_by: int,
        values: tuple[int, ...],
    ) -> Sides:
        """The samples of these subjects, see `Samples`; read once for stages that want the same."""
        wanted = settings.model_dump(mode="json", include=_READ)
        key = json.dumps([wanted, kind.with_source, kind.with_labels, divisible_by, values])
        if self._read is None or self._read[0] != key:
            self._read = None  # both at once might not fit the memory
            kinds: dict[str, type[Samples]] = {"any": AnyToAnySamples, "unpaired": UnpairedSamples}
            gather = kinds.get(kind.with_source, Samples)
            laid_out: dict[str, Any] = {"divisible_by": divisible_by, "values": values}
            train, validation = (
                gather(side, settings, **laid_out) for side in (subjects.train, subjects.validation)
            )
            self._read = key, Sides(train, validation)
        return self._read[1]
