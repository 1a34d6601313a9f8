"""Where diffusion happens: in the image itself, or in a codec's latent."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Codec(nn.Module, ABC):
    """Image in [0, 1] ↔ sample of about unit range.

    ``factor`` is how many voxels along an axis become one; ``channels`` is the sample's count.
    """

    factor: int
    channels: int

    @abstractmethod
    def encode(self, image: Tensor) -> Tensor:
        """(B, 1, \\*spatial) in [0, 1] → (B, channels, \\*spatial / factor)."""

    @abstractmethod
    def decode(self, sample: Tensor) -> Tensor:
        """The inverse; a noisy sample may decode to values outside [0, 1]."""


class ImageCodec(Codec):
    """The image itself: [0, 1] ↔ [−1, 1]."""

    factor = 1
    channels = 1

    def encode(self, image: Tensor) -> Tensor:
        return image * 2 - 1

    def decode(self, sample: Tensor) -> Tensor:
        return (sample + 1) / 2
