"""Steering: a denoiser whose every estimate is moved to agree with a source.

The way is up the gradient of local mutual information (`chiasm.lmi`), so that nothing need be
trained for it: any unconditional model of the target can be steered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from chiasm.diffusion.sampling import Denoise
from chiasm.lmi import prepare
from chiasm.lmi.settings import LMISettings

# Bytes that the gradient of a volume's agreement may take: thicker slabs share more of their rows.
MEMORY = 2**29


class SteeringSettings(BaseModel):
    """How far, in how many steps, and by which agreement estimates are moved.

    Parameters
    ----------
    strength : float
        How far an estimate of x0 is moved at one network evaluation: the root mean square over
        the source's head, in units of the sample (its range is about [−1, 1]), of all steps
        together if none turns; 0 for not at all.
    steps : int
        Gradient steps, each of strength / steps; one longer than the kernel is wide goes too far.
    slices : bool
        Of a volume, whether slices along its last axis agree, each by itself, or the volume.
    patch_size, search_size, bins, bandwidth
        As in `chiasm.local_mutual_information`. By default the kernel is wider than a guide's: the
        gradient of a narrow one knows the next grey values alone. The two images lie on one grid,
        so no offsets are searched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strength: float = Field(default=0.3, ge=0)
    steps: int = Field(default=4, ge=1)
    slices: bool = False
    patch_size: int = 5
    search_size: int = 1
    bins: int = 11
    bandwidth: float = 0.1

    @model_validator(mode="after")
    def _legal(self) -> SteeringSettings:
        LMISettings(**self.operator())
        return self

    def operator(self) -> dict[str, Any]:
        """The settings of local mutual information."""
        return self.model_dump(exclude={"strength", "steps", "slices"})


def steer(
    denoise: Denoise,
    source: Tensor,
    decode: Callable[[Tensor], Tensor],
    settings: SteeringSettings,
) -> Denoise:
    """The denoiser, its estimates moved up the gradient of their agreement with the source.

    The gradient is that of the mean LMI over the head by x0, not by x_t: it needs no pass back
    through the network. Each sample is moved by itself, and only where its head is.

    Parameters
    ----------
    denoise : callable
        (x_t (B, C, \\*spatial), t (B,)) → x0 of x_t's shape.
    source : Tensor, shape (B, 1, \\*spatial)
        In [0, 1], 0 outside the head.
    decode : callable
        Differentiable, from such a sample to an image in [0, 1] of the source's shape.
    settings : SteeringSettings
    """
    if settings.strength == 0:
        return denoise

    def parts(image: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) → (B·Z, 1, X, Y) if it is slices that agree."""
        return image.movedim(-1, 1).flatten(0, 1) if settings.slices and image.ndim == 5 else image

    # What inference mode has made takes no part in a gradient, but its clone outside does.
    with torch.inference_mode(False):
        known = source.detach().clone().float()
        head = known > 0
        agreement = prepare(parts(known), mask=parts(head), memory=MEMORY, **settings.operator())
        share = head.flatten(1).float().mean(1)

    def move(x0: Tensor) -> Tensor:
        x0 = x0.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(agreement(parts(decode(x0) * head)).sum(), x0)
        size = (gradient.square().flatten(1).mean(1) / share).sqrt()
        size = torch.where(size > 0, size, torch.inf).view(-1, *(1,) * (x0.ndim - 1))
        return x0 + settings.strength / settings.steps * gradient / size

    def steered(x_t: Tensor, time: Tensor) -> Tensor:
        estimate = denoise(x_t, time)
        with torch.inference_mode(False), torch.enable_grad():
            x0 = estimate.clone()
            for _ in range(settings.steps):
                x0 = move(x0)
        return x0.detach()

    return steered
