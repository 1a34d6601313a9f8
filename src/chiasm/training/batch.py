"""A batch of training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of training samples.

    Attributes
    ----------
    image : Tensor, shape (B, images, \\*spatial)
        In [0, 1].
    mask : bool Tensor, shape of the image
        The foreground.
    population : Tensor, shape (B, Q)
        Quantiles of the intensities of each sample's whole volume.
    structures, places : uint8 Tensor, optional
        For heads made from label maps, the structure (`chiasm.phantom.structures`) of each voxel,
        (B, images, \\*spatial), and of each value of ``population``.
    labels : Tensor, optional
        The channel of each voxel, for segmenters.
    source, source_mask : Tensor, optional
        An image of another modality and its foreground. If it is paired, it has the voxels of the
        image. If it is unpaired, its size can differ.
    modality, source_modality : Tensor, shape (B,), optional
        The indices of the modalities of image and source.
    every : Tensor, shape (B, modalities, \\*spatial), optional
        The middle images of all modalities.
    latents, mirrored : Tensor, shape (B, modalities, channels, \\*spatial / factor), optional
        An encoder's latents of the images of all modalities, and of the mirrored images, mirrored
        back. Both are in half precision and cover the same region as the image.
    """

    image: Tensor
    mask: Tensor
    population: Tensor
    labels: Tensor | None = None
    source: Tensor | None = None
    source_mask: Tensor | None = None
    modality: Tensor | None = None
    source_modality: Tensor | None = None
    every: Tensor | None = None
    latents: Tensor | None = None
    mirrored: Tensor | None = None
    structures: Tensor | None = None
    places: Tensor | None = None

    @property
    def factor(self) -> int:
        """Voxels of the image along an axis for one voxel of the latents; 1 without latents."""
        if self.latents is None:
            return 1
        return self.image.shape[-1] // self.latents.shape[-1]

    @property
    def centre(self) -> Tensor:
        """The middle image, which the network learns to make: (B, 1, \\*spatial)."""
        middle = self.image.shape[1] // 2
        return self.image[:, middle : middle + 1]

    @property
    def centre_mask(self) -> Tensor:
        """The foreground of the middle image: bool, (B, 1, \\*spatial)."""
        middle = self.mask.shape[1] // 2
        return self.mask[:, middle : middle + 1]

    @property
    def centre_structures(self) -> Tensor:
        """The structures of the middle image: (B, 1, \\*spatial)."""
        assert self.structures is not None  # heads from label maps have them
        middle = self.structures.shape[1] // 2
        return self.structures[:, middle : middle + 1]

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        moved: dict[str, Any] = {
            key: None if one is None else one.to(device) for key, one in vars(self).items()
        }
        return Batch(**moved)
