"""The training of CycleGAN (Zhu et al., ICCV 2017) on unpaired source and target images."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from pydantic import Field
from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.methods.baselines.cyclegan.image_buffer import ImageBuffer
from chiasm.networks import NetworkSettings
from chiasm.training.adversarial import (
    AdversarialObjective,
    AdversarialSettings,
    AdversarialTraining,
    frozen,
)
from chiasm.training.batch import Batch
from chiasm.training.sources import UnpairedSamples


class CycleSettings(AdversarialSettings):
    """Settings of the critics, and the weights of the other losses.

    Parameters
    ----------
    cycle, identity : float
        Weights of these losses, relative to the adversarial loss.
    buffer : int
        The number of generated images in each critic's buffer.
    """

    cycle: float = Field(default=10.0, ge=0)
    identity: float = Field(default=5.0, ge=0)
    buffer: int = Field(default=50, ge=1)


class Settings(AdversarialTraining):
    """Settings of the training of CycleGAN.

    Parameters
    ----------
    adversarial : CycleSettings
    """

    network: dict[str, Any] = {
        "name": "unet",
        "arguments": {"features": [16, 32, 64, 128, 128, 16], "upsample": "nontrainable"},
    }
    adversarial: CycleSettings = CycleSettings()


class CycleGANObjective(AdversarialObjective):
    """A cycle of two translations must be the identity, and each one must fool its critic.

    The module translates to the target, and the finished model keeps it. ``helpers["back"]`` is
    the network that translates back to the source. Translations are 0 outside the foreground of
    their source, as real images are.
    """

    method = "cyclegan"
    with_source = "unpaired"
    samples_class = UnpairedSamples
    settings_class = Settings
    betas = (0.5, 0.999)

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        context = settings.context
        if context.images > 1:
            problem = "cannot be translated back, because a translation has no neighbouring slices"
            raise UsageError(explain("context", context.kind, problem, "2d or 3d"))
        network = NetworkSettings.model_validate(settings.network)
        self.back: Any = network.build(context.spatial_dims, 1, 1)
        self.helpers["back"] = self.back
        for side in ("target", "source"):
            # Normalisation would hide the brightness of a tissue, and translations turn blotchy.
            self.critics[side] = self.critic(channels=32, num_layers_d=3, norm=None)
        self.buffers: Any = nn.ModuleDict(
            {side: ImageBuffer(settings.adversarial.buffer) for side in self.critics}
        )
        self.helpers["image_buffers"] = self.buffers  # a module has an attribute "buffers"
        self.least_squares = PatchAdversarialLoss(
            criterion="least_squares", no_activation_leastsq=True
        )

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = self.settings.adversarial
        made = self._made(batch)
        generated = chosen.cycle * self._cycle(batch, made)
        if chosen.identity:
            generated = generated + chosen.identity * self._identity(batch)
        with frozen(self.critics):
            for side, image in made.items():
                generated = generated + self._scored(side, image, True, False)
        critical = generated.new_zeros(())
        for side, real in {"target": batch.image, "source": _source(batch)[0]}.items():
            shown = self.buffers[side].draw(made[side], generator)
            both = self._scored(side, real, True, True) + self._scored(side, shown, False, True)
            critical = critical + both / 2
        return generated, critical

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The cycle loss: mean absolute errors of both modalities, added."""
        return self._cycle(batch, self._made(batch))

    def stepped(self) -> None:
        for buffer in self.buffers.values():
            buffer.commit()

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
        """The identity loss: a generator should not change an image of its own target."""
        source = self.back(_source(batch)[0]).float()
        return self._compared(batch, source, self.module(batch.image).float())

    def _compared(self, batch: Batch, source: Tensor, target: Tensor) -> Tensor:
        off_source = self.weigh((source - _source(batch)[0]).abs(), _source(batch)[1])
        return off_source + self.weigh((target - batch.image).abs(), batch.mask)

    def _scored(self, side: str, image: Tensor, real: bool, by_critic: bool) -> Tensor:
        scores = self.critics[side](image)[-1].float()
        return self.least_squares(scores, target_is_real=real, for_discriminator=by_critic)


def _source(batch: Batch) -> tuple[Tensor, Tensor]:
    """The batch's source images and their foreground masks; `with_source` requires them."""
    assert batch.source is not None
    assert batch.source_mask is not None
    return batch.source, batch.source_mask
