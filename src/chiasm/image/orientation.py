"""The order in which voxels are stored, and the canonical order that all processing uses.

The same scan may be stored with its axes permuted or flipped (LAS, RAS, PIR, …), and the result
must not depend on this. Volumes are therefore reordered to the closest order to RAS+ before
anything is computed, and results are reordered back. Axes are permuted and flipped; nothing is
interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff

from chiasm.image.volume import LabelVolume, Volume

CANONICAL = "RAS"  # the directions in which the canonical axes run, as closely as they can

Image = TypeVar("Image", Volume, LabelVolume)


@dataclass(frozen=True)
class Turn:
    """The change from the stored order of a scan to the canonical order, and back.

    Parameters
    ----------
    forth : array, shape (3, 2)
        nibabel's orientation of the stored axes: the canonical axis of each, and its sign.
    shape : three ints
        Shape of the stored array.
    """

    forth: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, image: Volume | LabelVolume) -> Self:
        """The turn that brings an image to the closest order to RAS+."""
        return cls(nib.io_orientation(image.affine), image.shape)

    def array(self, array: np.ndarray) -> np.ndarray:
        """Bring an array from the stored order, (I, J, K), to the canonical order."""
        return np.ascontiguousarray(apply_orientation(array, self.forth))

    def image(self, image: Image) -> Image:
        """Bring an image from the stored to the canonical order; no voxel moves in space."""
        affine = image.affine @ inv_ornt_aff(self.forth, self.shape)
        return replace(image, array=self.array(image.array), affine=affine)

    def array_back(self, array: np.ndarray) -> np.ndarray:
        """Bring an array from the canonical order back to the stored order, (I, J, K)."""
        axes = self.forth[:, 0].astype(int)
        flipped = tuple(int(axes[k]) for k in range(3) if self.forth[k, 1] < 0)
        return np.ascontiguousarray(np.flip(array, flipped).transpose(axes))

    def image_back(self, image: Image, stored: Volume | LabelVolume) -> Image:
        """Bring an image back to the order of the stored scan, and give it the scan's affine."""
        changes: dict[str, Any] = {"array": self.array_back(image.array), "affine": stored.affine}
        return replace(image, **changes)
