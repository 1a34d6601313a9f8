"""The base of all segmenters that others made: what their description tells."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from chiasm.machine.device import Resources
from chiasm.segmenters.base import Segmenter
from chiasm.segmenters.description import Description
from chiasm.segmenters.labels_of_others import labels_from


class SegmenterOfOthers(Segmenter):
    """A segmenter that a command line, a file or a folder names.

    Parameters
    ----------
    given : str or Path
        What ``--segmenter`` or ``--extract`` names.
    resources : Resources, optional
    argument : str
        The argument that named it; errors begin with it.

    Raises
    ------
    UsageError
        What is named is incomplete or not legal.
    """

    description: Description

    def __init__(
        self,
        given: str | Path,
        resources: Resources | None = None,
        argument: str = "--segmenter",
    ) -> None:
        self.resources, self.argument = resources or Resources(), argument
        self.description = self._described(given)
        self.modality = self.description.modality
        self.brain_only = self.description.brain_only
        self.labels = labels_from(self.description.labels)
        self.name = self.description.name or self._own_name()

    @abstractmethod
    def _described(self, given: str | Path) -> Description:
        """Its description, checked. What else the class needs of ``given`` is kept here."""

    @abstractmethod
    def _own_name(self) -> str:
        """The name where the description gives none."""
