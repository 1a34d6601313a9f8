"""Inversion of a style-based generator finds the latents whose image agrees with a source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from monai.losses import GlobalMutualInformationLoss
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.generator import StyleGenerator

# η of `gradient_fields`: gradients of [0, 1] images per voxel that are as weak as noise.
_NOISE = 0.05
_MEAN_OF = 4096  # number of latents for the mean and the standard deviation
_Loss = Callable[[Tensor, Tensor], Tensor]


class InversionSettings(BaseModel):
    """Settings of the search for the latents.

    Parameters
    ----------
    loss : {"l1", "gradient-fields", "mutual-information"}
        The disagreement of image and source. ``"l1"``, the mean absolute error, is published
        (Abdal et al., ICCV 2019) and assumes that source and target have the same contrast. The
        other losses do not.
    iterations : int
        Iterations of Adam.
    rate : float
        Learning rate of Adam, with a cosine schedule.
    prior : float
        Weight of the latents' mean squared distance from their mean, in standard deviations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: Literal["l1", "gradient-fields", "mutual-information"] = "mutual-information"
    iterations: int = Field(default=100, ge=1)
    rate: float = Field(default=0.05, gt=0)
    prior: float = Field(default=0.01, ge=0)


def l1(image: Tensor, source: Tensor) -> Tensor:
    """Mean absolute error of each sample, (B,)."""
    return (image - source).abs().flatten(1).mean(1)


def gradient_fields(image: Tensor, source: Tensor) -> Tensor:
    """Normalised gradient fields, a measure of disagreeing edges (Haber & Modersitzki 2006).

    1 − ⟨∇a, ∇b⟩² / (|∇a|² + η²)(|∇b|² + η²), averaged over each sample, (B,). A contrast and its
    inverse give the same value.
    """
    axes = tuple(range(2, image.ndim))
    a, b = (torch.stack(torch.gradient(one, dim=axes), dim=1) for one in (image, source))
    strength = [one.square().sum(1) + _NOISE**2 for one in (a, b)]
    agreement = (a * b).sum(1).square() / (strength[0] * strength[1])
    return 1 - agreement.flatten(1).mean(1)


def mutual_information(image: Tensor, source: Tensor) -> Tensor:
    """Negative mutual information of each sample's grey values, in nats, (B,)."""
    return GlobalMutualInformationLoss(reduction="none")(image, source)


LOSSES: dict[str, _Loss] = {
    "l1": l1,
    "gradient-fields": gradient_fields,
    "mutual-information": mutual_information,
}


def latent_statistics(generator: StyleGenerator) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of w, each (latent,)."""
    z = torch.randn((_MEAN_OF, generator.latent), generator=torch.Generator().manual_seed(0))
    w = generator.map(z.to(generator.constant.device))
    return w.mean(0), w.std(0) + 1e-8


def invert(
    generator: StyleGenerator,
    source: Tensor,
    settings: InversionSettings,
    on_step: Callable[[int, int], Any] = lambda done, steps: None,
) -> Tensor:
    """The generator's image that agrees best with each source.

    The search starts from the mean latent and uses one latent for each layer (w+). The noise
    inputs are off and nothing is drawn at random. A sample's result does not depend on the other
    samples of the batch.

    Parameters
    ----------
    generator : StyleGenerator
        A generator whose weights require no gradient.
    source : Tensor, shape (B, 1, \\*spatial)
        In [0, 1].
    settings : InversionSettings
    on_step : callable
        It is called with (steps done, total steps).

    Returns
    -------
    Tensor, shape (B, 1, \\*spatial)
        About [0, 1].
    """
    with torch.inference_mode(False), torch.enable_grad():
        known, disagreement = source.clone(), LOSSES[settings.loss]
        with torch.no_grad():
            mean, spread = latent_statistics(generator)
        offset = torch.zeros(len(source), generator.layers, generator.latent, device=source.device)
        offset.requires_grad_()
        optimiser = torch.optim.Adam([offset], lr=settings.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.iterations)
        for step in range(settings.iterations):
            image = generator(mean + spread * offset, source.shape[2:])
            # The losses are summed, so that a sample does not depend on the size of the batch.
            loss = disagreement(image, known) + settings.prior * offset.square().mean((1, 2))
            # Agreement of edges or of grey values would not keep the image in [0, 1].
            loss = loss + (image - image.clamp(0, 1)).abs().flatten(1).mean(1)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
            schedule.step()
            on_step(step + 1, settings.iterations)
        return generator(mean + spread * offset, source.shape[2:]).detach()
