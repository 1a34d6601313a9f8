"""ALDM's first stage: the VQ-GAN, on images of all modalities."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from torch import Tensor

from chiasm.training.adversarial import AdversarialObjective, frozen
from chiasm.training.data import Batch
from chiasm.training.settings import TrainingSettings


class AutoencoderObjective(AdversarialObjective):
    """There and back must be the identity, in the eyes of a patch critic too.

    The perceptual loss compares features of that critic, whose every layer sees what is real and
    what is not, so no downloaded network is needed.
    """

    method = "aldm"
    with_source = "any"
    trained = "codec"
    betas = (0.5, 0.9)

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        self.weights = settings.losses
        if self.weights.adversarial or self.weights.perceptual:
            self.critics["image"] = self.critic(channels=32, num_layers_d=3, norm=None)
        self.least_squares = PatchAdversarialLoss(
            criterion="least_squares", no_activation_leastsq=True
        )

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        network = self.module.codec.network
        image, _ = self.some_randomised(batch, generator)
        latent, commitment = network.quantise(network.encode(image * 2 - 1))
        made = (network.decode(latent) + 1) / 2
        error = self.weigh((made - image).abs(), batch.mask)
        maker = self.weights.reconstruction * error + self.weights.quantisation * commitment
        if not self.critics:
            return maker, maker.new_zeros(())
        critic = self.critics["image"]
        with frozen(critic):
            *features, score = critic(made)
            *wanted, _ = critic(image)
        judged = self.least_squares(score.float(), True, for_discriminator=False)
        apart = [
            (a - b.detach()).abs().float().mean() for a, b in zip(features, wanted, strict=True)
        ]
        maker = maker + self.weights.adversarial * judged
        maker = maker + self.weights.perceptual * torch.stack(apart).mean()
        critical = []
        for shown, real in ((image, True), (made.detach(), False)):
            score = critic(shown)[-1].float()
            critical.append(self.least_squares(score, real, for_discriminator=True))
        return maker, torch.stack(critical).mean()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean absolute error of there and back, in the head; through the codes if decoding is."""
        codec = self.module.codec
        made = codec.decode(codec.encode(batch.image))
        return self.weigh((made - batch.image).abs(), batch.mask)
