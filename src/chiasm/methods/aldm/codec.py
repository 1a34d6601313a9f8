"""The codec whose latent is the space in which diffusion happens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chiasm.diffusion.codec import Codec
from chiasm.methods.aldm.vqgan import VQGAN


class LatentCodec(Codec):
    """The latent of a VQ-GAN, scaled to mean 0 in each channel and standard deviation 1 overall.

    All channels share one standard deviation, as in latent diffusion (Rombach et al., CVPR 2022).
    A channel that hardly matters to the image therefore stays small, and an error in it costs
    little.

    Parameters
    ----------
    network : VQGAN
    quantise : bool
        Whether a latent is rounded to the nearest codes before it is decoded. A sampled latent is
        not quantised.
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
        """Measure the mean and the standard deviation of the latents inside the foreground.

        Parameters
        ----------
        images, masks : Tensor, shape (B, 1, \\*spatial)
            Images in [0, 1] and their foreground masks.
        """
        count, total, squares = 0, torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        with torch.no_grad():
            # The images are encoded one by one, because a batch of volumes needs too much memory.
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
