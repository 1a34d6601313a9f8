"""A denoiser: network + parameterisation + guide, returning x0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn import functional

from chiasm.diffusion.sampling import Denoise, NoiseSchedule
from chiasm.diffusion.steering import SteeringSettings
from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet, PreparedGuide
from chiasm.networks import NetworkSettings
from chiasm.registry import CODECS, PARAMETERISATIONS


class DiffusionSettings(BaseModel):
    """What diffusion is run: parameterisation, schedule, space, and the defaults of sampling.

    Parameters
    ----------
    parameterisation, codec : str
        Registered names.
    residual : bool
        The network predicts what is to be added to the guide's estimate of the target
        (`chiasm.guides.translation`); under x0 alone.
    schedule : NoiseSchedule
    scheduler, steps, guidance
        Of a run that does not say, see `chiasm.translators.RunOptions`.
    start : {"noise", "guide", "estimate"}
        Where sampling starts: from pure noise, or from the guide's estimate of the target under
        noise of time ``edit_from``; with estimate it stays there, and no step is run.
    edit_from : float
        Share of the process that is run on what is not pure noise, in (0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parameterisation: str = "x0"
    residual: bool = False
    schedule: NoiseSchedule = NoiseSchedule()
    codec: str = "image"
    scheduler: str = "ddim"
    steps: int = Field(default=8, ge=1)
    guidance: float = Field(default=1.0, ge=0)
    start: Literal["noise", "guide", "estimate"] = "noise"
    edit_from: float = Field(default=0.5, gt=0, le=1)
    steering: SteeringSettings = SteeringSettings()

    @field_validator("residual")
    @classmethod
    def _of_x0(cls, residual: bool, others: ValidationInfo) -> bool:
        if residual and others.data.get("parameterisation") != "x0":
            raise ValueError("true needs parameterisation x0")
        return residual

    @field_validator("steps")
    @classmethod
    def _no_more_than_times(cls, steps: int, others: ValidationInfo) -> int:
        times = others.data["schedule"].times if "schedule" in others.data else steps
        if steps > times:
            raise ValueError(f"at most {times}, the times of the model's schedule")
        return steps


class VariancePreserving(nn.Module):
    """What every denoiser knows of its process: x_t = α·x0 + σ·ε, α² + σ² = 1."""

    signal: Tensor

    def __init__(self, settings: DiffusionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.parameterisation = PARAMETERISATIONS.load(settings.parameterisation)()
        self.register_buffer("signal", settings.schedule.signal().float(), persistent=False)

    def amplitudes(self, time: Tensor, signal: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
        """α and σ at each sample's time, shaped to broadcast over (B, C, \\*spatial)."""
        kept = signal.to(time.device)[time.long()].view(-1, *(1,) * (ndim - 1)).float()
        return kept.sqrt(), (1 - kept).sqrt()


def extrapolated(
    guided: Callable[[], Tensor] | None, unguided: Callable[[], Tensor], guidance: float
) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022); what has no weight is not computed."""
    if guided is None or guidance == 0:
        return unguided()
    if guidance == 1:
        return guided()
    without = unguided()
    return without + guidance * (guided() - without)


class Denoiser(VariancePreserving):
    """Estimates x0 from x_t, t and the guide of a source.

    Parameters
    ----------
    network : NetworkSettings
        Sees the sample's channels, then the guides'.
    settings : DiffusionSettings
    guides : GuideSet
    spatial_dims : int
        2 or 3.
    images : int
        Channels of the source: slices of context (`chiasm.context`).
    """

    def __init__(
        self,
        network: NetworkSettings,
        settings: DiffusionSettings,
        guides: GuideSet,
        *,
        spatial_dims: int,
        images: int,
    ) -> None:
        super().__init__(settings)
        self.guides = guides
        self.guide_channels = guides.channels(images, spatial_dims)
        self.codec = CODECS.load(settings.codec, "codec")()
        channels = self.codec.channels
        self.network = network.build(spatial_dims, channels + self.guide_channels, channels)
        self.estimate_channel = guides.estimate_channel(images, spatial_dims)
        in_image = self.codec.factor == self.codec.channels == 1
        if settings.residual and (self.estimate_channel is None or not in_image):
            legal = "the guide translation, and diffusion in the image itself"
            raise UsageError(explain("diffusion.residual", True, "has nothing to add to", legal))

    @property
    def divisible_by(self) -> int:
        """What every spatial size of an image must be a multiple of."""
        return math.lcm(self.network.divisible_by * self.codec.factor, self.guides.divisible_by)

    def conditioning(self, guide: PreparedGuide, x_t: Tensor, time: Tensor) -> Tensor:
        """The guide's channels at this evaluation, on the sample's lattice."""
        image = self.codec.decode(x_t) if self.guides.needs_sample else None
        channels = guide(image, time)
        if self.codec.factor == 1:
            return channels
        pool = functional.avg_pool2d if x_t.ndim == 4 else functional.avg_pool3d
        return pool(channels, self.codec.factor)

    def predict(self, x_t: Tensor, time: Tensor, channels: Tensor) -> Tensor:
        """What the network predicts, in its parameterisation; float32."""
        output = self.network(torch.cat([x_t, channels], dim=1), time).float()
        if self.settings.residual:
            return output + channels[:, self.estimate_channel, None]
        return output

    def estimate(self, source: Tensor) -> Tensor:
        """The estimate of the target by the guide that makes one, as a clean sample."""
        guide = next(one for one in self.guides.guides if one.estimates_target)
        return self.codec.encode((guide.prepare(source)(None, None) + 1) / 2)

    def bind(
        self, source: Tensor | None, *, signal: Tensor | None = None, guidance: float | None = None
    ) -> Denoise:
        """The function (x_t, t) → x0 that a sampler runs.

        Parameters
        ----------
        source : Tensor, shape (B, images, \\*spatial), or None
            In [0, 1]; None drops every guide.
        signal : Tensor, optional
            ᾱ as the scheduler has it (`signal_of`), where that differs from training's.
        guidance : float, optional
            1 uses the guided estimate, 0 the unguided one, above 1 extrapolates from the
            unguided through the guided (Ho & Salimans 2022).
        """
        guidance = self.settings.guidance if guidance is None else guidance
        kept = self.signal if signal is None else signal
        guide = None if source is None else self.guides.prepare(source)

        def denoise(x_t: Tensor, time: Tensor) -> Tensor:
            alpha, sigma = self.amplitudes(time, kept, x_t.ndim)
            none = x_t.new_zeros((len(x_t), self.guide_channels, *x_t.shape[2:]))

            def x0(channels: Tensor) -> Tensor:
                output = self.predict(x_t, time, channels)
                return self.parameterisation.x0(output, x_t, alpha, sigma)

            guided = None if guide is None else lambda: x0(self.conditioning(guide, x_t, time))
            return extrapolated(guided, lambda: x0(none), guidance)

        return denoise
