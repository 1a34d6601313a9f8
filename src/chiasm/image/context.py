"""The network input: a slice, a slice with its neighbours, or the complete volume."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

Plane = Literal["axial", "coronal", "sagittal"]
# The anatomical axis along which the slices of each plane are stacked.
PLANES: dict[Plane, str] = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}


class Context(BaseModel):
    """The context of a model. The axes of a volume are in the order (in-plane, in-plane, slice).

    Parameters
    ----------
    kind : {"2d", "2.5d", "3d"}
        A network input is a slice ("2d"), a slice with its neighbours as channels ("2.5d"), or the
        complete volume ("3d").
    neighbours : int
        Number of slices on either side, for "2.5d". The first and last slices are repeated
        beyond the ends of the volume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["2d", "2.5d", "3d"] = "2d"
    neighbours: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Context:
        if (self.kind == "2.5d") != (self.neighbours > 0):
            raise ValueError("neighbours must be at least 1 for 2.5d, and 0 otherwise")
        return self

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions of a network input: 2 or 3."""
        return 3 if self.kind == "3d" else 2

    @property
    def images(self) -> int:
        """Number of channels that the source has in a network input."""
        return 1 + 2 * self.neighbours

    def samples(self, volume: np.ndarray) -> np.ndarray:
        """The network inputs of a volume: (X, Y, Z) → (Z, images, X, Y), or (1, 1, X, Y, Z)."""
        if self.kind == "3d":
            return volume[None, None]
        slices = np.moveaxis(volume, 2, 0)
        around = np.arange(-self.neighbours, self.neighbours + 1)
        indices = np.clip(np.arange(len(slices))[:, None] + around, 0, len(slices) - 1)
        return slices[indices]

    def volume(self, samples: np.ndarray) -> np.ndarray:
        """The volume of one channel: (Z, 1, X, Y) or (1, 1, X, Y, Z) → (X, Y, Z)."""
        if self.kind == "3d":
            return samples[0, 0]
        return np.moveaxis(samples[:, 0], 0, 2)
