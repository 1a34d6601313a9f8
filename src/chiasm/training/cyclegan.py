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
        self.back: Any = network.build(context.spatial_dims, 1, 1)
        self.helpers["back"] = self.back
        for side in ("target", "source"):
            # Norms would hide from a critic how bright a tissue is; translations turn blotchy.
            self.critics[side] = self.critic(channels=32, num_layers_d=3, norm=None)
        self.pools: Any = nn.ModuleDict(
            {side: ImagePool(settings.adversarial.pool) for side in self.critics}
        )
        self.helpers["pools"] = self.pools
        self.least_squares = PatchAdversarialLoss(
            criterion="least_squares", no_activation_leastsq=True
        )

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = self.settings.adversarial
        made = self._made(batch)
        maker = chosen.cycle * self._cycle(batch, made)
        if chosen.identity:
            maker = maker + chosen.identity * self._identity(batch)
        with frozen(self.critics):
            for side, image in made.items():
                maker = maker + self._judged(side, image, True, False)
        critical = maker.new_zeros(())
        for side, real in {"target": batch.image, "source": _source(batch)[0]}.items():
            shown = self.pools[side].draw(made[side], generator)
            both = self._judged(side, real, True, True) + self._judged(side, shown, False, True)
            critical = critical + both / 2
        return maker, critical

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """What there and back changes, mean absolute error, both sides together."""
        return self._cycle(batch, self._made(batch))

    def stepped(self) -> None:
        for pool in self.pools.values():
            pool.commit()

    def _made(self, batch: Batch) -> dict[str, Tensor]:
        return {
            "target": self._translated(self.module, _source(batch)[0], _source(batch)[1]),
            "source": self._translated(self.back, batch.image, batch.mask),
        }

    def _translated(self, network: Any, image: Tensor, mask: Tensor) -> Tensor:
        return network(image).float() * mask

    def _cycle(self, batch: Batch, made: dict[str, Tensor]) -> Tensor:
        source = self.back(made["target"]).float()
        target = self.module(made["source"]).float()
        return self._compared(batch, source, target)

    def _identity(self, batch: Batch) -> Tensor:
        """A generator that is given what it makes should leave it alone."""
        source = self.back(_source(batch)[0]).float()
        return self._compared(batch, source, self.module(batch.image).float())

    def _compared(self, batch: Batch, source: Tensor, target: Tensor) -> Tensor:
        off_source = self.weigh((source - _source(batch)[0]).abs(), _source(batch)[1])
        return off_source + self.weigh((target - batch.image).abs(), batch.mask)

    def _judged(self, side: str, image: Tensor, real: bool, by_critic: bool) -> Tensor:
        scores = self.critics[side](image)[-1].float()
        return self.least_squares(scores, target_is_real=real, for_discriminator=by_critic)


def _source(batch: Batch) -> tuple[Tensor, Tensor]:
    """The batch's source images and their heads; `with_source` says that it has them."""
    assert batch.source is not None
    assert batch.source_mask is not None
    return batch.source, batch.source_mask
