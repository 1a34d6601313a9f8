"""From noise to a sample: the schedulers of diffusers applied to a denoiser.

A sampler is a function of a denoiser (x_t, t) → x0 and a number of steps. It is independent of
guides, devices and progress bars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDPMScheduler
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from chiasm.errors import UsageError, explain
from chiasm.registry import PARAMETERISATIONS, SCHEDULERS

Denoise = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[int, int], None]

# The schedulers whose first step divides by α = 0 if the network predicts noise.
_START_AT_TERMINAL = ("ddim", "ddpm")


class NoiseSchedule(BaseModel):
    """The noise level at each time, x_t = √ᾱ_t·x0 + √(1 − ᾱ_t)·ε.

    Parameters
    ----------
    times : int
        Number of training times T.
    beta_schedule, beta_start, beta_end
        As in diffusers.
    zero_terminal_snr : bool
        Whether the schedule is rescaled so that x_t is pure noise at the last time (Lin et al.
        2024), where sampling starts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(default=1000, ge=2)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    zero_terminal_snr: bool = True

    def _arguments(self) -> dict[str, Any]:
        return {
            "num_train_timesteps": self.times,
            "beta_schedule": self.beta_schedule,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "rescale_betas_zero_snr": self.zero_terminal_snr,
            "timestep_spacing": "trailing",
            "prediction_type": "sample",
        }

    def alphas_cumprod(self) -> Tensor:
        """ᾱ_t for t = 0 … T − 1, float64, shape (T,)."""
        plain: Any = DDPMScheduler(**(self._arguments() | {"rescale_betas_zero_snr": False}))
        alphas_cumprod = torch.cumprod(1 - plain.betas.double(), dim=0)
        if self.zero_terminal_snr:
            root = alphas_cumprod.sqrt()
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            alphas_cumprod = root**2
        return alphas_cumprod

    def scheduler(self, name: str, parameterisation: str) -> Any:
        """A new diffusers scheduler for this schedule, which takes x0 and does not clip it.

        Raises
        ------
        UsageError
            The name is not known, or the network predicts noise (``"epsilon"``) and DDIM or DDPM
            would divide by α = 0 at the last time.
        """
        SCHEDULERS.check(name, "--scheduler")
        predicts = PARAMETERISATIONS.load(parameterisation, "parameterisation")
        if self.zero_terminal_snr and predicts.divides_by_alpha and name in _START_AT_TERMINAL:
            legal = "v or x0, a schedule without zero terminal SNR, dpm++ or unipc"
            problem = f"divides by alpha = 0 at the last time with {name}"
            raise UsageError(explain("parameterisation", parameterisation, problem, legal))
        extra = {"clip_sample": False} if name in _START_AT_TERMINAL else {}
        return SCHEDULERS.load(name)(**self._arguments(), **extra)


def alphas_cumprod_of(scheduler: Any) -> Tensor:
    """ᾱ_t of a scheduler, float64, shape (T,)."""
    return scheduler.alphas_cumprod.double()


def generators(seed: int, voxels: Sequence[int]) -> list[torch.Generator]:
    """A random generator for each sample, from the seed and the sample's index in the volume.

    The noise of a sample therefore depends neither on its batch nor on other cases.
    """
    return [
        torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
        )
        for index in voxels
    ]


def first_noise(shape: Sequence[int], streams: Sequence[torch.Generator]) -> Tensor:
    """Unit noise of shape (len(streams), \\*shape), each sample from its own generator."""
    return torch.stack([torch.randn(tuple(shape), generator=stream) for stream in streams])


def sample(
    denoise: Denoise,
    scheduler: Any,
    steps: int,
    start: Tensor,
    streams: Sequence[torch.Generator] | None = None,
    *,
    from_time: float | None = None,
    on_step: Step | None = None,
) -> Tensor:
    """Run the reverse process from noise to a sample.

    Parameters
    ----------
    denoise : callable
        (x_t (B, C, \\*spatial), t (B,)) → x0 of x_t's shape.
    scheduler
        From `NoiseSchedule.scheduler`.
    steps : int
        Number of network evaluations of the complete process, ≥ 1.
    start : Tensor, shape (B, C, \\*spatial)
        Unit noise; or, with ``from_time``, the clean sample from which the process starts
        (SDEdit). Noise from ``streams`` is added to it.
    streams : sequence of torch.Generator, optional
        One generator for each sample; needed by DDPM and by ``from_time``.
    from_time : float, optional
        Share of the process that is run, in (0, 1].
    on_step : callable, optional
        Called with (finished steps, total steps) after each step.
    """
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps
    x = start
    if from_time is not None:
        skip = min(len(times) - 1, round(len(times) * (1 - from_time)))
        times = times[skip:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skip)
        alpha_cumprod = alphas_cumprod_of(scheduler)[int(times[0])].to(x.dtype)
        if streams is None:
            raise ValueError("from_time needs streams, the generators from which noise is drawn")
        noise = first_noise(start.shape[1:], streams).to(start)
        x = alpha_cumprod.sqrt() * start + (1 - alpha_cumprod).sqrt() * noise
    # Only ancestral sampling (DDPM) draws noise at each step.
    random = (
        {"generator": list(streams)} if streams and isinstance(scheduler, DDPMScheduler) else {}
    )
    for done, time in enumerate(times, start=1):
        x0 = denoise(x, time.expand(len(x)))
        x = scheduler.step(x0, time, x, **random).prev_sample
        if on_step:
            on_step(done, len(times))
    return x
