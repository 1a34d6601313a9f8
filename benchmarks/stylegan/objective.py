"""The training of a style-based generator of the target (Karras et al., CVPR 2020)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.training.adversarial import (
    AdversarialObjective,
    AdversarialSettings,
    AdversarialTraining,
    frozen,
)
from chiasm.training.batch import Batch
from stylegan.inversion import InversionSettings

# Share of the samples with style mixing: their latent changes at a random layer.
_MIXED = 0.9


class CriticSettings(AdversarialSettings):
    """Settings of the critic.

    Parameters
    ----------
    r1, r1_every : float, int
        Weight γ of the gradient penalty R1, and the mean number of iterations between two
        penalties.
    noise : float
        Standard deviation of the noise that is added to every image that the critic sees. Without
        it, the critic recognises generated images by their background, which is not exactly 0.
    """

    r1: float = Field(default=1.0, ge=0)
    r1_every: int = Field(default=16, ge=1)
    noise: float = Field(default=0.0, ge=0)


class Settings(AdversarialTraining):
    """Settings of the training of the generator.

    Parameters
    ----------
    adversarial : CriticSettings
    inversion : InversionSettings
        Settings with which the finished model is run.
    """

    network: dict[str, Any] = {"name": "style-generator"}
    adversarial: CriticSettings = CriticSettings()
    inversion: InversionSettings = InversionSettings()


class StyleGANObjective(AdversarialObjective):
    """Trains a generator against a patch critic of target images. No source is read."""

    method = "stylegan"
    settings_class = Settings
    betas = (0.0, 0.99)

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        if (crop := settings.augmentation.crop) is not None:
            problem = "would teach the generator boxes, but it makes whole images"
            raise UsageError(explain("augmentation.crop", crop, problem, "null"))
        # The patches are as large as a brain, because a critic of small ones ignores the anatomy.
        self.critics["target"] = self.critic(channels=32, num_layers_d=4, norm=None)

    def begin(self, batch: Batch) -> None:
        super().begin(batch)
        size = tuple(batch.image.shape[2:])
        self.module.size = size
        network = dict(self.settings.network)
        network["arguments"] = network.get("arguments", {}) | {"size": list(size)}
        self.settings = self.settings.model_copy(update={"network": network})

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        critic, chosen = self.critics["target"], self.settings.adversarial

        def seen(image: Tensor) -> Tensor:
            noise = torch.randn(image.shape, generator=generator).to(image.device)
            return image + chosen.noise * noise

        made, real = self._made(batch, generator), seen(batch.centre)
        with frozen(critic):
            generated = functional.softplus(-_score(critic, seen(made))).mean()
        critical = functional.softplus(_score(critic, seen(made.detach()))).mean()
        critical = critical + functional.softplus(-_score(critic, real)).mean()
        # The penalty is applied at random iterations, so that a resumed run needs no counter.
        if torch.rand((), generator=generator) < 1 / chosen.r1_every:
            penalty = gradient_penalty(critic, real)
            critical = critical + chosen.r1 / 2 * chosen.r1_every * penalty
        return generated, critical

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The critic's mean score of validation images minus that of generated images."""
        critic = self.critics["target"]
        made = self._made(batch, generator)
        return _score(critic, batch.centre).mean() - _score(critic, made).mean()

    def _made(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Generate as many images as the batch has, from random latents with style mixing."""
        module, count = self.module, len(batch.image)
        z = torch.randn((2, count, module.latent), generator=generator)
        change = torch.randint(1, module.layers + 1, (count, 1, 1), generator=generator)
        change[torch.rand(count, generator=generator) >= _MIXED] = module.layers
        first, second = module.map(z.flatten(0, 1).to(batch.image.device)).unflatten(0, (2, count))
        after = torch.arange(module.layers)[None, :, None] >= change
        latents = torch.where(after.to(first.device), second[:, None], first[:, None])
        return module(latents, batch.image.shape[2:], generator)


def _score(critic: Any, image: Tensor) -> Tensor:
    return critic(image)[-1].float()


def gradient_penalty(critic: nn.Module, image: Tensor) -> Tensor:
    """R1 (Mescheder et al., ICML 2018): mean over samples of |∂ critic(x) / ∂x|².

    Parameters
    ----------
    critic : nn.Module
        Its last output, averaged over the patches, is a sample's score.
    image : Tensor, shape (B, 1, \\*spatial)
        Real images.

    Returns
    -------
    Tensor
        A scalar. It is computed in single precision, whatever the precision of the training.
    """
    with torch.autocast(image.device.type, enabled=False):
        image = image.float().detach().requires_grad_()
        score = critic(image)[-1].flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(score, image, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
