"""CycleGAN (Zhu et al., ICCV 2017): source and target images, of which none belong together."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.networks import NetworkSettings
from chiasm.training.adversarial import AdversarialObjective, frozen
from chiasm.training.data import Batch
from chiasm.training.pool import ImagePool
from chiasm.training.settings import TrainingSettings

# Real images and their heads, by the side that they are of: "target" or "source".
_Sides = dict[str, tuple[Tensor, Tensor]]


class CycleGANObjective(AdversarialObjective):
    """There and back must be the identity, and images of either side must fool its critic.

    The module translates to the target and is kept; ``helpers["back"]`` is its like for the way
    back. Translations are 0 outside their source's head, as real images are.
    """

    method = "cyclegan"
    with_source = "unpaired"
    defaults = {  # noqa: RUF012
        "network": {
            "name": "unet",
            "arguments": {"features": [16, 32, 64, 128, 128, 16], "upsample": "nontrainable"},
        },
    }
    betas = (0.5, 0.999)

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        context = settings.context
        if context.images > 1:
            problem = "cannot be translated back: a translation has no neighbours"
            raise UsageError(explain("context", context.kind, problem, "2d or 3d"))
        network = NetworkSettings.model_validate(settings.network)
        self.helpers["back"] = network.build(context.spatial_dims, 1, 1)
        for side in ("target", "source"):
            self.critics[side] = self.critic(channels=32, num_layers_d=3, norm="instance")
        self.pools = {side: ImagePool(settings.adversarial.pool) for side in self.critics}
        self.helpers["pools"] = nn.ModuleDict(self.pools)
        self.least_squares = PatchAdversarialLoss(
            criterion="least_squares", no_activation_leastsq=True
        )

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen, real = self.settings.adversarial, _sides(batch)
        made = self._made(real)
        maker = chosen.cycle * self._cycle(real, made)
        if chosen.identity:
            maker = maker + chosen.identity * self._identity(real)
        with frozen(self.critics):
            for side, image in made.items():
                maker = maker + self._judged(side, image, True, False)
        critical = maker.new_zeros(())
        for side, (image, _) in real.items():
            shown = self.pools[side].draw(made[side], generator)
            both = self._judged(side, image, True, True) + self._judged(side, shown, False, True)
            critical = critical + both / 2
        return maker, critical

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """What there and back changes, mean absolute error, both sides together."""
        real = _sides(batch)
        return self._cycle(real, self._made(real))

    def stepped(self) -> None:
        for pool in self.pools.values():
            pool.commit()

    def _to(self, side: str, image: Tensor) -> Tensor:
        network = self.module if side == "target" else self.helpers["back"]
        return network(image).float()

    def _made(self, real: _Sides) -> dict[str, Tensor]:
        """Translations, by the side that they are to look like."""
        (target, target_mask), (source, source_mask) = real["target"], real["source"]
        return {
            "target": self._to("target", source) * source_mask,
            "source": self._to("source", target) * target_mask,
        }

    def _cycle(self, real: _Sides, made: dict[str, Tensor]) -> Tensor:
        back = {"target": made["source"], "source": made["target"]}
        return self._off(real, {side: self._to(side, image) for side, image in back.items()})

    def _identity(self, real: _Sides) -> Tensor:
        """A network that is given what it makes should leave it alone."""
        return self._off(real, {side: self._to(side, image) for side, (image, _) in real.items()})

    def _off(self, real: _Sides, images: dict[str, Tensor]) -> Tensor:
        """Mean absolute error from the real images, both sides together."""
        target, source = (
            self.weigh((images[side] - image).abs(), mask) for side, (image, mask) in real.items()
        )
        return target + source

    def _judged(self, side: str, image: Tensor, real: bool, by_critic: bool) -> Tensor:
        scores = self.critics[side](image)[-1].float()
        return self.least_squares(scores, target_is_real=real, for_discriminator=by_critic)


def _sides(batch: Batch) -> _Sides:
    assert batch.source is not None  # this method is trained with sources
    assert batch.source_mask is not None
    return {
        "target": (batch.image, batch.mask),
        "source": (batch.source, batch.source_mask),
    }
