"""Adversarial training: networks that make images against critics that tell them from real ones.

Both sides are updated at every iteration, from the same images, by one optimiser that holds a
group of parameters for each side; so iterations, checkpoints, averaging and mixed precision are
those of any other training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.networks.unet import MEMORY_FORMATS
from chiasm.training.data import Batch
from chiasm.training.module import TrainingModule
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings


class AdversarialModule(TrainingModule):
    """Own learning rate, betas and clipping for each side, both losses in the log."""

    objective: AdversarialObjective

    def __init__(self, objective: AdversarialObjective) -> None:
        super().__init__(objective)
        self.helpers = objective.helpers
        self.critics = objective.critics

    def parameter_groups(self) -> list[dict[str, Any]]:
        chosen, betas = self.objective.settings, self.objective.betas
        makers = [*self.module.parameters(), *self.helpers.parameters()]
        rate = chosen.learning_rate * chosen.adversarial.critic_rate
        return [
            {"params": makers, "betas": betas},
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
        maker, critic = self.objective.losses(batch, self._generator(1, self.global_step))
        self.log_dict({"maker_loss": maker.detach(), "critic_loss": critic.detach()})
        return self._logged(maker + critic)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        self.objective.stepped()


class AdversarialObjective(Objective):
    """A training method in which critics judge what the module makes.

    Attributes
    ----------
    helpers : nn.ModuleDict
        What is trained on the module's side or belongs in a checkpoint, and is not kept.
    critics : nn.ModuleDict
        What is trained against them, and not kept.
    betas : tuple of float
        Of AdamW, as published for the method.
    """

    kind = "translator"
    runner = AdversarialModule
    betas: ClassVar[tuple[float, float]]

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        self.helpers = nn.ModuleDict()
        self.critics = nn.ModuleDict()

    def critic(self, **arguments: Any) -> PatchDiscriminator:
        """A critic of one-channel images: these arguments under the settings'."""
        dims = self.settings.context.spatial_dims
        chosen = arguments | self.settings.adversarial.critic
        try:
            critic = PatchDiscriminator(dims, in_channels=1, **chosen)
        except (TypeError, ValueError, KeyError) as error:
            problem = str(error).splitlines()[0]
            legal = "what monai.networks.nets.PatchDiscriminator takes"
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
        maker, critic = self.losses(batch, generator)
        return maker + critic

    @abstractmethod
    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The makers' loss and the critics', each with a gradient for its own side alone."""

    def stepped(self) -> None:
        """Called once an iteration's update is done."""


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within, the module passes gradients on to its input and gathers none itself."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def gradient_penalty(critic: nn.Module, image: Tensor) -> Tensor:
    """R1 (Mescheder et al., ICML 2018): mean over samples of |∂ critic(x) / ∂x|².

    Parameters
    ----------
    critic : nn.Module
        Whose last output, averaged over its patches, is a sample's score.
    image : Tensor, shape (B, 1, \\*spatial)
        Real images.

    Returns
    -------
    Tensor
        A scalar; in single precision, whatever the training's.
    """
    with torch.autocast(image.device.type, enabled=False):
        image = image.float().detach().requires_grad_()
        score = critic(image)[-1].flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(score, image, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
