"""A style-based generator of the target: lazy R1, style mixing (Karras et al., CVPR 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.training.adversarial import AdversarialObjective, frozen, gradient_penalty
from chiasm.training.data import Batch
from chiasm.training.settings import TrainingSettings

# Share of the samples whose latents change somewhere along the layers (style mixing).
_MIXED = 0.9


class StyleGANObjective(AdversarialObjective):
    """Images of latents against a patch critic that sees the target's; no source is read."""

    method = "stylegan"
    defaults = {"network": {"name": "style-generator"}}  # noqa: RUF012
    betas = (0.0, 0.99)

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        if (crop := settings.augmentation.crop) is not None:
            problem = "would teach it boxes, where it makes whole images"
            raise UsageError(explain("augmentation.crop", crop, problem, "null"))
        # Patches as large as a brain: a critic of small ones would let anatomy fall apart.
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
            maker = functional.softplus(-_score(critic, seen(made))).mean()
        critical = functional.softplus(_score(critic, seen(made.detach()))).mean()
        critical = critical + functional.softplus(-_score(critic, real)).mean()
        # Now and then, and then in full weight: drawn, so that resuming needs no count.
        if torch.rand((), generator=generator) < 1 / chosen.r1_every:
            penalty = gradient_penalty(critic, real)
            critical = critical + chosen.r1 / 2 * chosen.r1_every * penalty
        return maker, critical

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """By how much the critic scores held-out images above generated ones."""
        critic = self.critics["target"]
        made = self._made(batch, generator)
        return _score(critic, batch.centre).mean() - _score(critic, made).mean()

    def _made(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """As many images as the batch has, of random latents under style mixing."""
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
