"""The interface of a segmenter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chiasm.image.volume import Label, LabelVolume, Volume


@dataclass(frozen=True)
class Segmentation:
    """A label map, a record of how it was made (for JSON), and warnings."""

    labels: LabelVolume
    record: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Segmenter(ABC):
    """Makes a label map of a volume, on the same grid.

    A class that derives from this one and is registered (`chiasm.registry.SEGMENTERS`) is used by
    its name. It is called with one argument, the `chiasm.machine.device.Resources`. It needs no
    model folder and finds its weights itself.

    Attributes
    ----------
    name : str
        The name in reports and tables.
    modality : str or None
        The modality that it needs (a BIDS suffix); None for any.
    labels : tuple of Label
        The structures that it finds, background first.
    brain_only : bool or None
        Whether it wants skull-stripped brains; None if that is not known.
    model_settings : tuple of str
        Of a segmenter that is trained: the training settings that a finished model keeps
        (``settings`` in its config).
    """

    name: str
    modality: str | None
    labels: tuple[Label, ...]
    brain_only: bool | None = None
    model_settings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def segment(self, volume: Volume, mask: np.ndarray | None = None) -> Segmentation:
        """Label one volume.

        Parameters
        ----------
        volume : Volume
            A scan of the segmenter's modality.
        mask : bool array, shape of the volume, optional
            The foreground. It is computed if it is not given.

        Raises
        ------
        CaseError
            The volume cannot be prepared.
        """

    def load(self) -> None:  # noqa: B027
        """Read the weights now, so that an error is reported before any scan is read."""

    def identity(self) -> dict[str, Any]:
        """What the results depend on, for reports. It holds at least the name."""
        return {"name": self.name}
