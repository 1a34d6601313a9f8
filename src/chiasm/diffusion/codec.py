"""The space in which diffusion takes place: the image itself, or the latent of a codec."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Codec(nn.Module, ABC):
    """A map between images in [0, 1] and samples of about unit range.

    Along each axis, ``factor`` voxels of the image become one of the sample, which has
    ``channels`` channels.
    """

    factor: int
    channels: int

    @abstractmethod
    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 1, \\*spatial) in [0, 1] → sample (B, channels, \\*spatial / factor)."""

    @abstractmethod
    def decode(self, sample: Tensor) -> Tensor:
        """The inverse of `encode`. A noisy sample may decode to values outside [0, 1]."""


class ImageCodec(Codec):
    """The image itself, scaled from [0, 1] to [−1, 1]."""

    factor = 1
    channels = 1

    def encode(self, image: Tensor) -> Tensor:
        return image * 2 - 1

    def decode(self, sample: Tensor) -> Tensor:
        return (sample + 1) / 2
