"""Where diffusion happens: in the image itself, or in a codec's latent."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from chiasm.networks.vqgan import VQGAN


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


class LatentCodec(Codec):
    """The latent of a VQ-GAN, of mean 0 and, over all channels, deviation 1.

    One deviation for all, as in latent diffusion (Rombach et al., CVPR 2022): a channel that hardly
    matters to the image stays small, and an error in it costs little.

    Parameters
    ----------
    network : VQGAN
    quantise : bool
        Decode through the codes. What is sampled is not quantised, so that rounds it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: VQGAN, *, quantise: bool = True) -> None:
        super().__init__()
        self.network, self.quantise = network, quantise
        self.factor, self.channels = network.factor, network.latent
        # Measured on training images once the autoencoder is trained (`measure`).
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("deviation", torch.ones(self.channels))

    def _shaped(self, statistic: Tensor, like: Tensor) -> Tensor:
        return statistic.view(1, -1, *(1,) * (like.ndim - 2))

    def measure(self, images: Tensor, masks: Tensor) -> None:
        """Take mean and deviation of the latents of these images, where their heads are.

        Parameters
        ----------
        images, masks : Tensor, shape (B, 1, \\*spatial)
        """
        count, total, squares = 0, torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        with torch.no_grad():
            # One by one: of volumes, all at once would take too much memory.
            for image, mask in zip(images.split(1), masks.split(1), strict=True):
                latent = self.network.encode(image * 2 - 1)
                inside = nn.functional.interpolate(mask.float(), latent.shape[2:], mode="nearest")
                values = latent.movedim(1, -1)[inside[:, 0] > 0]
                count, total = count + len(values), total + values.sum(0)
                squares = squares + values.square().sum(0)
            mean = total / count
            self.mean.copy_(mean)
            variance = (squares / count - mean.square()).mean()
            self.deviation.copy_(variance.clamp_min(1e-12).sqrt().expand_as(mean))

    def encode(self, image: Tensor) -> Tensor:
        latent = self.network.encode(image * 2 - 1)
        return (latent - self._shaped(self.mean, latent)) / self._shaped(self.deviation, latent)

    def decode(self, sample: Tensor) -> Tensor:
        latent = sample * self._shaped(self.deviation, sample) + self._shaped(self.mean, sample)
        if self.quantise:
            latent, _ = self.network.quantise(latent)
        return (self.network.decode(latent) + 1) / 2
