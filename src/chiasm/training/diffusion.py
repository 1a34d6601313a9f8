"""Settings and times that the trainings of all denoisers share."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from chiasm.training.settings import TrainingSettings


class DiffusionTraining(TrainingSettings):
    """Settings of the training of a denoiser.

    Parameters
    ----------
    guide_dropout : float
        Share of the samples whose guides are dropped, 0 to below 1.
    timestep_bias : float
        Bias of the sampled times towards noise, at least 1. Their density is proportional to
        t^(timestep_bias − 1), so 1 is uniform.
    min_snr : float or None
        γ of the min-SNR weighting (5 in its paper). None gives all times the same weight.
    """

    guide_dropout: float = Field(default=0.1, ge=0, lt=1)
    timestep_bias: float = Field(default=1.0, ge=1)
    min_snr: float | None = Field(default=None, gt=0)


def random_times(
    size: int, count: int, bias: float, generator: torch.Generator | None = None
) -> Tensor:
    """Draw times with a density proportional to t^(bias − 1).

    Parameters
    ----------
    size : int
        The number of times to draw.
    count : int
        The number of times of the schedule.
    bias : float
        At least 1; 1 is uniform.

    Returns
    -------
    Tensor of int64, shape (size,)
        From 0 to count − 1.
    """
    share = torch.rand(size, generator=generator) ** (1 / bias)
    return (share * count).long().clamp(max=count - 1)
