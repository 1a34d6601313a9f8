"""A denoiser: network + parameterisation + guide, returning x0."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn import functional

from chiasm.diffusion.sampling import Denoise, NoiseSchedule
from chiasm.diffusion.steering import SteeringSettings
from chiasm.guides import GuideSet, PreparedGuide
from chiasm.networks import NetworkSettings
from chiasm.registry import CODECS, PARAMETERISATIONS


class DiffusionSettings(BaseModel):
    """What diffusion is run: parameterisation, schedule, space, and the defaults of sampling."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parameterisation: str = "x0"
    schedule: NoiseSchedule = NoiseSchedule()
    codec: str = "image"
    scheduler: str = "ddim"
    steps: int = Field(default=8, ge=1)
    guidance: float = Field(default=1.0, ge=0)
    edit_from: float = Field(default=0.5, gt=0, le=1)
    steering: SteeringSettings = SteeringSettings()

    @field_validator("steps")
    @classmethod
    def _no_more_than_times(cls, steps: int, others: ValidationInfo) -> int:
        times = others.data["schedule"].times if "schedule" in others.data else steps
        if steps > times:
            raise ValueError(f"at most {times}, the times of the model's schedule")
        return steps


class Denoiser(nn.Module):
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

    signal: Tensor

    def __init__(
        self,
        network: NetworkSettings,
        settings: DiffusionSettings,
        guides: GuideSet,
        *,
        spatial_dims: int,
        images: int,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.guides = guides
        self.guide_channels = guides.channels(images, spatial_dims)
        self.codec = CODECS.load(settings.codec, "codec")()
        self.parameterisation = PARAMETERISATIONS.load(settings.parameterisation)()
        channels = self.codec.channels
        self.network = network.build(spatial_dims, channels + self.guide_channels, channels)
        self.register_buffer("signal", settings.schedule.signal().float(), persistent=False)

    @property
    def divisible_by(self) -> int:
        """What every spatial size of an image must be a multiple of."""
        return self.network.divisible_by * self.codec.factor

    def amplitudes(self, time: Tensor, signal: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
        """α and σ at each sample's time, shaped to broadcast over (B, C, \\*spatial)."""
        kept = signal.to(time.device)[time.long()].view(-1, *(1,) * (ndim - 1)).float()
        return kept.sqrt(), (1 - kept).sqrt()

    def conditioning(self, guide: PreparedGuide, x_t: Tensor, time: Tensor) -> Tensor:
        """The guide's channels at this evaluation, on the sample's lattice."""
        image = self.codec.decode(x_t) if self.guides.needs_sample else None
        channels = guide(image, time)
        if self.codec.factor == 1:
            return channels
        pool = functional.avg_pool2d if x_t.ndim == 4 else functional.avg_pool3d
        return pool(channels, self.codec.factor)

    def predict(self, x_t: Tensor, time: Tensor, channels: Tensor) -> Tensor:
        """The network's raw output, in its parameterisation."""
        return self.network(torch.cat([x_t, channels], dim=1), time)

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
                output = self.predict(x_t, time, channels).float()
                return self.parameterisation.x0(output, x_t, alpha, sigma)

            if guide is None or guidance == 0:
                return x0(none)
            guided = x0(self.conditioning(guide, x_t, time))
            if guidance == 1:
                return guided
            unguided = x0(none)
            return unguided + guidance * (guided - unguided)

        return denoise
