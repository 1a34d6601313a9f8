"""Loss guidance: every estimate of a denoiser is moved towards agreement with a source.

The estimate follows the gradient of its local mutual information (`chiasm.lmi`) with the source,
as in diffusion posterior sampling. This needs no training, so any unconditional model of the
target can be guided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from chiasm.diffusion.sampling import Denoise
from chiasm.lmi import prepare
from chiasm.lmi.settings import Binning, LMISettings

# Working memory of the gradient in bytes. More memory allows thicker slabs, which repeat less work.
MEMORY = 2**29


class LossGuidanceSettings(BaseModel):
    """The strength of loss guidance, its number of steps, and the measure of agreement.

    Parameters
    ----------
    strength : float
        How far an estimate of x0 is moved at one network evaluation if all steps have the same
        direction: the root mean square over the foreground of the source, in units of the sample
        (its range is about [−1, 1]). 0 turns guidance off.
    steps : int
        Number of gradient steps, each of length strength / steps. A step that is longer than the
        bandwidth goes too far.
    slices : bool
        Whether the agreement of a volume is computed for each slice along its last axis, or for
        the volume in 3D.
    patch_size, search_size, bins, bandwidth
        As in `chiasm.local_mutual_information`. The default kernel is wider than that of the
        guide, because the gradient of a narrow kernel depends on neighbouring grey values only.
        The two images lie on one grid, so no offsets are searched.
    binning : {"uniform", "quantile"}
        As in `chiasm.local_mutual_information`. With ``"quantile"``, the distributions are those of
        the foreground of the source, in each slice if ``slices`` is true and else in the volume.
        The gradient holds the distribution of the estimate fixed during each step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strength: float = Field(default=0.3, ge=0)
    steps: int = Field(default=4, ge=1)
    slices: bool = False
    patch_size: int = 5
    search_size: int = 1
    bins: int = 11
    bandwidth: float = 0.1
    binning: Binning = "uniform"

    @model_validator(mode="after")
    def _legal(self) -> LossGuidanceSettings:
        LMISettings(**self.operator())
        return self

    def operator(self) -> dict[str, Any]:
        """The settings of local mutual information."""
        return self.model_dump(exclude={"strength", "steps", "slices"})


def guided_by_loss(
    denoise: Denoise,
    source: Tensor,
    decode: Callable[[Tensor], Tensor],
    settings: LossGuidanceSettings,
) -> Denoise:
    """A denoiser whose estimates are moved along the gradient of their agreement with a source.

    The gradient is the derivative of the mean LMI over the foreground with respect to x0, not to
    x_t, so no backward pass through the network is needed. Each sample is moved separately, and
    only in its foreground.

    Parameters
    ----------
    denoise : callable
        (x_t (B, C, \\*spatial), t (B,)) → x0 of x_t's shape.
    source : Tensor, shape (B, 1, \\*spatial)
        In [0, 1], 0 outside the foreground.
    decode : callable
        A differentiable map from x0 to an image in [0, 1] of the source's shape.
    settings : LossGuidanceSettings
    """
    if settings.strength == 0:
        return denoise

    def images(image: Tensor) -> Tensor:
        """The images whose agreement is computed; (B, 1, X, Y, Z) → (B·Z, 1, X, Y) for slices."""
        return image.movedim(-1, 1).flatten(0, 1) if settings.slices and image.ndim == 5 else image

    # A tensor made in inference mode has no gradient, but its clone outside that mode has one.
    with torch.inference_mode(False):
        known = source.detach().clone().float()
        inside = known > 0
        agreement = prepare(
            images(known), mask=images(inside), memory=MEMORY, **settings.operator()
        )
        share = inside.flatten(1).float().mean(1)

    def move(x0: Tensor) -> Tensor:
        x0 = x0.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(agreement(images(decode(x0) * inside)).sum(), x0)
        size = (gradient.square().flatten(1).mean(1) / share).sqrt()
        size = torch.where(size > 0, size, torch.inf).view(-1, *(1,) * (x0.ndim - 1))
        return x0 + settings.strength / settings.steps * gradient / size

    def guided(x_t: Tensor, time: Tensor) -> Tensor:
        estimate = denoise(x_t, time)
        with torch.inference_mode(False), torch.enable_grad():
            x0 = estimate.clone()
            for _ in range(settings.steps):
                x0 = move(x0)
        return x0.detach()

    return guided
