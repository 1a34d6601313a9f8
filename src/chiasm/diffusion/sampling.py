"""From noise to a sample: diffusers' schedulers with explicit steps around a denoiser.

A sampler is a plain function of a denoiser (x_t, t) → x0 and of steps. It sees neither the
guide, nor the device, nor a progress bar.
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

# The schedulers whose first step would divide by α = 0 to make x0 of a predicted noise.
_NEED_SIGNAL = ("ddim", "ddpm")


class NoiseSchedule(BaseModel):
    """How much of the sample is left at each time, x_t = √ᾱ_t·x0 + √(1 − ᾱ_t)·ε.

    Parameters
    ----------
    times : int
        Number of training times T.
    beta_schedule, beta_start, beta_end
        As in diffusers.
    zero_terminal_snr : bool
        Rescale so that the last time is pure noise (Lin et al. 2024), as sampling starts there.
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

    def signal(self) -> Tensor:
        """ᾱ_t for t = 0 … T − 1, float64, shape (T,)."""
        plain: Any = DDPMScheduler(**(self._arguments() | {"rescale_betas_zero_snr": False}))
        signal = torch.cumprod(1 - plain.betas.double(), dim=0)
        if self.zero_terminal_snr:
            root = signal.sqrt()
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            signal = root**2
        return signal

    def scheduler(self, name: str, parameterisation: str) -> Any:
        """A fresh diffusers scheduler over this schedule that is fed x0 and clips nothing.

        Raises
        ------
        UsageError
            Unknown name; noise (``"epsilon"``) predicted at zero signal under DDIM or DDPM.
        """
        SCHEDULERS.check(name, "--scheduler")
        predicts = PARAMETERISATIONS.load(parameterisation, "parameterisation")
        if self.zero_terminal_snr and predicts.divides_by_signal and name in _NEED_SIGNAL:
            legal = "v or x0, a schedule without zero terminal SNR, dpm++ or unipc"
            problem = f"divides by zero signal at the last time under {name}"
            raise UsageError(explain("parameterisation", parameterisation, problem, legal))
        extra = {"clip_sample": False} if name in _NEED_SIGNAL else {}
        return SCHEDULERS.load(name)(**self._arguments(), **extra)


def signal_of(scheduler: Any) -> Tensor:
    """ᾱ_t as the scheduler itself uses it, float64, shape (T,)."""
    return scheduler.alphas_cumprod.double()


def generators(seed: int, voxels: Sequence[int]) -> list[torch.Generator]:
    """One stream of noise for each sample, from the seed and the sample's place in the volume.

    So a sample's noise depends on neither the batch it is in nor the cases beside it.
    """
    return [
        torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, place]).generate_state(1, np.uint64)[0] >> 1)
        )
        for place in voxels
    ]


def first_noise(shape: Sequence[int], streams: Sequence[torch.Generator]) -> Tensor:
    """Unit noise of shape (len(streams), \\*shape), each sample from its own stream."""
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
    """Solve the reverse process.

    Parameters
    ----------
    denoise : callable
        (x_t (B, C, \\*spatial), t (B,)) → x0 of x_t's shape.
    scheduler
        From `NoiseSchedule.scheduler`.
    steps : int
        Network evaluations if the whole process is run, ≥ 1.
    start : Tensor, shape (B, C, \\*spatial)
        Unit noise; or, with ``from_time``, the clean sample to start from (SDEdit), which is
        noised here with the streams' first draw.
    streams : sequence of torch.Generator, optional
        One for each sample; needed by DDPM and by ``from_time``.
    from_time : float, optional
        Share of the process that is run, in (0, 1].
    on_step : callable, optional
        Called with (steps done, steps in all) after each.
    """
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps
    x = start
    if from_time is not None:
        skip = min(len(times) - 1, round(len(times) * (1 - from_time)))
        times = times[skip:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skip)
        signal = signal_of(scheduler)[int(times[0])].to(x.dtype)
        if streams is None:
            raise ValueError("from_time needs the streams that noise is drawn from")
        noise = first_noise(start.shape[1:], streams).to(start)
        x = signal.sqrt() * start + (1 - signal).sqrt() * noise
    # Only ancestral sampling draws noise at each step.
    random = (
        {"generator": list(streams)} if streams and isinstance(scheduler, DDPMScheduler) else {}
    )
    for done, time in enumerate(times, start=1):
        x0 = denoise(x, time.expand(len(x)))
        x = scheduler.step(x0, time, x, **random).prev_sample
        if on_step:
            on_step(done, len(times))
    return x
