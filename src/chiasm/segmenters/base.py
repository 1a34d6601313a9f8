"""The contract of a segmenter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chiasm.models import Model
from chiasm.volume import LabelVolume, Volume


@dataclass(frozen=True)
class Segmentation:
    """A label map, and the record of how it came about (JSON-able)."""

    labels: LabelVolume
    record: dict[str, Any] = field(default_factory=dict)


class Segmenter(ABC):
    """Volume of the modality it knows → LabelVolume on the same grid.

    ``needs_source`` says that it looks at a translation beside the scan it was made from.
    """

    needs_source: ClassVar[bool] = False

    def __init__(self, model: Model, *, batch: int = 8, device: str = "auto") -> None:
        self.model = model
        self.batch = batch
        self.device = device

    @abstractmethod
    def segment(
        self, volume: Volume, mask: np.ndarray | None = None, source: Volume | None = None
    ) -> Segmentation:
        """Label one volume.

        Parameters
        ----------
        volume : Volume
        mask : bool array, shape of the volume, optional
            The head; found if not given.
        source : Volume, optional
            The scan that ``volume`` was translated from, on the same grid; for segmenters that
            look at both.

        Raises
        ------
        UsageError
            The segmenter needs a source and there is none.
        CaseError
            The volume or the source cannot be prepared, see `chiasm.preparation.prepare`.
        """
