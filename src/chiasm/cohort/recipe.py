"""What a command makes of every scan, in a form that can be sent to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chiasm.machine.device import Resources, set_threads
from chiasm.pipeline import EXTRACT, Pipeline, check_extract

LABEL_SUFFIX = "dseg"


@dataclass(frozen=True)
class Recipe:
    """The names of the models and all settings of a command.

    Parameters
    ----------
    translate : bool
        Whether scans are translated.
    segmenter : str or None
        The segmenter. With None, scans are only translated.
    model, method : str or None
        As in `chiasm.methods.load.load_translator`.
    targets : tuple of str or None
        The targets; None stands for the model's own.
    options : mapping
        Options of the method.
    extract : str or None
        What finds the brain. It is named as a segmenter is.
    resources : Resources
    threads : int or None
        Number of CPU threads; None stands for all.
    """

    translate: bool = True
    segmenter: str | None = None
    model: str | None = None
    method: str | None = None
    targets: tuple[str | None, ...] = (None,)
    options: Mapping[str, Any] = field(default_factory=dict)
    extract: str | None = None
    resources: Resources = field(default_factory=Resources)
    threads: int | None = None

    def check(self, mask: Path | None) -> None:
        """Refuse (`UsageError`) a mask beside an extractor."""
        if self.extract is not None:
            check_extract(self.extract, mask)

    def pipelines(self) -> list[Pipeline]:
        """One pipeline for each target, and the threads set for this process.

        Raises
        ------
        UsageError, CaseError
            A name or an option is not legal, or a model cannot be read.
        """
        from chiasm.methods.load import load_translator
        from chiasm.segmenters.load import load_segmenter

        set_threads(self.threads)
        resources = self.resources
        translators: list[Any] = [None]
        if self.translate:
            first = load_translator(
                self.model, self.method, self.targets[0], resources=resources, **self.options
            )
            translators = [first, *(first.towards(name or "") for name in self.targets[1:])]
        segmenter = None if self.segmenter is None else load_segmenter(self.segmenter, resources)
        extractor = None
        if self.extract is not None:
            extractor = load_segmenter(self.extract, resources, EXTRACT)
        return [
            Pipeline(
                one,
                segmenter,
                extractor=extractor,
                check_translatability=one is not None,
            )
            for one in translators
        ]

    def suffixes(self, pipeline: Pipeline) -> list[str]:
        """The BIDS suffixes of the outputs of a pipeline."""
        names = [] if pipeline.translator is None else [pipeline.translator.model.config.target]
        return names if pipeline.segmenter is None else [*names, LABEL_SUFFIX]

    def settings(self) -> dict[str, Any]:
        """What the report says of the machine's part: batch, device and threads."""
        return {
            "batch": self.resources.batch,
            "device": self.resources.device,
            "threads": self.threads,
        }
