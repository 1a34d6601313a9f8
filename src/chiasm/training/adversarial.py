"""Adversarial training of generators against critics (discriminators).

Generators and critics are updated at every iteration, from the same images. One optimiser holds a
parameter group for each of them. Iterations, checkpoints, averaging and mixed precision are
therefore the same as in every other training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from monai.networks.nets import PatchDiscriminator
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.networks.unet import MEMORY_FORMATS
from chiasm.training.batch import Batch
from chiasm.training.module import TrainingModule
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings
from chiasm.training.several_devices import Process


class AdversarialSettings(BaseModel):
    """Settings of the critics.

    Parameters
    ----------
    critic : dict
        Arguments of `monai.networks.nets.PatchDiscriminator`. They replace the method's own.
    critic_rate : float
        The critics' learning rate, as a multiple of the training's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    critic: dict[str, Any] = {}
    critic_rate: float = Field(default=1.0, gt=0)


class AdversarialTraining(TrainingSettings):
    """Settings of a training against critics.

    Parameters
    ----------
    adversarial : AdversarialSettings
    """

    adversarial: AdversarialSettings = AdversarialSettings()


class AdversarialModule(TrainingModule):
    """Trains generators and critics, each with their own learning rate, betas and clipping."""

    objective: AdversarialObjective

    def __init__(self, objective: AdversarialObjective, process: Process | None = None) -> None:
        super().__init__(objective, process)
        self.helpers = objective.helpers
        self.critics = objective.critics

    def parameter_groups(self) -> list[dict[str, Any]]:
        chosen, betas = self.objective.settings, self.objective.betas
        generators = [*self.module.parameters(), *self.helpers.parameters()]
        rate = chosen.learning_rate * chosen.adversarial.critic_rate
        return [
            {"params": generators, "betas": betas},
            {"params": list(self.critics.parameters()), "betas": betas, "lr": rate},
        ]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], gradient_clip_val or float("inf"))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        generator, critic = self.objective.losses(batch, self._draws())
        self.log_dict({"generator_loss": generator.detach(), "critic_loss": critic.detach()})
        return self._logged(generator + critic)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        self.objective.stepped()


class AdversarialObjective(Objective):
    """A training method in which critics score the images that the module makes.

    Attributes
    ----------
    helpers : nn.ModuleDict
        Parts that are trained with the module or belong in a checkpoint. The finished model does
        not keep them.
    critics : nn.ModuleDict
        Networks that are trained against the module. The finished model does not keep them.
    betas : tuple of float
        The betas of AdamW, as published for the method.
    """

    kind = "translator"
    runner = AdversarialModule
    settings: Any
    betas: ClassVar[tuple[float, float]]

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        self.helpers = nn.ModuleDict()
        self.critics = nn.ModuleDict()

    def critic(self, **arguments: Any) -> PatchDiscriminator:
        """Make a critic of one-channel images; the settings replace these arguments."""
        dims = self.settings.context.spatial_dims
        chosen = arguments | self.settings.adversarial.critic
        try:
            critic = PatchDiscriminator(dims, in_channels=1, **chosen)
        except (TypeError, ValueError, KeyError) as error:
            problem = str(error).splitlines()[0]
            legal = "the arguments of monai.networks.nets.PatchDiscriminator"
            raise UsageError(explain("adversarial.critic", chosen, problem, legal)) from None
        # torch documents this argument, but its types leave it out.
        return critic.to(memory_format=MEMORY_FORMATS[dims])  # type: ignore[call-overload]

    def begin(self, batch: Batch) -> None:
        size = tuple(self.settings.augmentation.crop or batch.image.shape[2:])
        for critic in self.critics.values():
            try:
                critic(batch.image.new_zeros((1, 1, *size)))
            except (RuntimeError, ValueError):
                deep = critic.num_layers_d
                problem = f"is too deep for samples of shape {size}"
                legal = "a smaller number"
                key = "adversarial.critic.num_layers_d"
                raise UsageError(explain(key, deep, problem, legal)) from None

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        made, critic = self.losses(batch, generator)
        return made + critic

    @abstractmethod
    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The losses of generators and critics; each has gradients for its own networks alone."""

    def stepped(self) -> None:
        """Called after the update of each iteration."""


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside this context, gradients pass through the module but its weights get none."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
