"""How much of a volume one sample of a network is: a slice, a slice with neighbours, or all."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator


class Context(BaseModel):
    """A setting of every model; volumes are laid out (in-plane, in-plane, slice).

    Parameters
    ----------
    kind : {"2d", "2.5d", "3d"}
        A slice; a slice with its neighbours as channels; the whole volume.
    neighbours : int
        Slices on either side, for "2.5d"; repeated at the volume's ends.
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
        """Spatial dimensions of a sample: 2 or 3."""
        return 3 if self.kind == "3d" else 2

    @property
    def images(self) -> int:
        """Channels of a source sample."""
        return 1 + 2 * self.neighbours

    def samples(self, volume: np.ndarray) -> np.ndarray:
        """(X, Y, Z) → (Z, images, X, Y), or (1, 1, X, Y, Z) for 3D."""
        if self.kind == "3d":
            return volume[None, None]
        slices = np.moveaxis(volume, 2, 0)
        around = np.arange(-self.neighbours, self.neighbours + 1)
        which = np.clip(np.arange(len(slices))[:, None] + around, 0, len(slices) - 1)
        return slices[which]

    def volume(self, samples: np.ndarray) -> np.ndarray:
        """The inverse for one channel: (Z, 1, X, Y) or (1, 1, X, Y, Z) → (X, Y, Z)."""
        if self.kind == "3d":
            return samples[0, 0]
        return np.moveaxis(samples[:, 0], 0, 2)
