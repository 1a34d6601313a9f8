"""The first stage of ALDM trains the VQ-GAN on images of all modalities."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from torch import Tensor

from chiasm.augment.contrast import randomise_some
from chiasm.methods.aldm.samples import AnyToAnySamples
from chiasm.methods.aldm.settings import Settings
from chiasm.training.adversarial import AdversarialObjective, frozen
from chiasm.training.batch import Batch


class AutoencoderObjective(AdversarialObjective):
    """The decoded image must equal the input and must look real to a patch critic.

    The perceptual loss compares features of that critic, so no downloaded network is needed.
    """

    method = "aldm"
    settings_class = Settings
    with_source = "any"
    samples_class = AnyToAnySamples
    trained = "codec"
    betas = (0.5, 0.9)

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        self.weights = settings.losses
        if self.weights.adversarial or self.weights.perceptual:
            self.critics["image"] = self.critic(channels=32, num_layers_d=3, norm=None)
        self.least_squares = PatchAdversarialLoss(
            criterion="least_squares", no_activation_leastsq=True
        )

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        network = self.module.codec.network
        image, _ = randomise_some(
            batch.image,
            batch.mask,
            batch.population,
            self.contrast,
            self.settings.any_contrast,
            generator,
        )
        latent, commitment = network.quantise(network.encode(image * 2 - 1))
        made = (network.decode(latent) + 1) / 2
        error = self.weigh((made - image).abs(), batch.mask)
        generated = self.weights.reconstruction * error + self.weights.quantisation * commitment
        if not self.critics:
            return generated, generated.new_zeros(())
        critic = self.critics["image"]
        with frozen(critic):
            *features, score = critic(made)
            *wanted, _ = critic(image)
        scored = self.least_squares(score.float(), True, for_discriminator=False)
        apart = [
            (a - b.detach()).abs().float().mean() for a, b in zip(features, wanted, strict=True)
        ]
        generated = generated + self.weights.adversarial * scored
        generated = generated + self.weights.perceptual * torch.stack(apart).mean()
        critical = []
        for shown, real in ((image, True), (made.detach(), False)):
            score = critic(shown)[-1].float()
            critical.append(self.least_squares(score, real, for_discriminator=True))
        return generated, torch.stack(critical).mean()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean absolute error of the decoded image in the foreground.

        The latent is quantised if the codec quantises it when it decodes.
        """
        codec = self.module.codec
        made = codec.decode(codec.encode(batch.image))
        return self.weigh((made - batch.image).abs(), batch.mask)
