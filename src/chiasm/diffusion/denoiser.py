"""A denoiser: a network with a parameterisation and guides that estimates x0."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn

from chiasm.diffusion.codec import ImageCodec
from chiasm.diffusion.sampling import Denoise, NoiseSchedule
from chiasm.guides import GuideSet, PreparedGuide
from chiasm.networks import NetworkSettings
from chiasm.registry import PARAMETERISATIONS


class DiffusionSettings(BaseModel):
    """The diffusion process for which a model was trained, and the defaults of sampling.

    Parameters
    ----------
    parameterisation : str
        Registered name of the quantity that the network predicts.
    schedule : NoiseSchedule
    scheduler : str
        Registered name of the default scheduler.
    steps : int
        Default number of steps, at least 1.
    guidance : float
        Default weight of the guides, see `Denoiser.bind`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parameterisation: str = "x0"
    schedule: NoiseSchedule = NoiseSchedule()
    scheduler: str = "ddim"
    steps: int = Field(default=8, ge=1)
    guidance: float = Field(default=1.0, ge=0)

    @field_validator("steps")
    @classmethod
    def _no_more_than_times(cls, steps: int, others: ValidationInfo) -> int:
        times = others.data["schedule"].times if "schedule" in others.data else steps
        if steps > times:
            raise ValueError(f"at most {times}, the number of times of the model's schedule")
        return steps


class VariancePreserving(nn.Module):
    """The diffusion process of a denoiser: x_t = α·x0 + σ·ε with α² + σ² = 1."""

    alphas_cumprod: Tensor

    def __init__(self, settings: DiffusionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.parameterisation = PARAMETERISATIONS.load(settings.parameterisation)()
        self.register_buffer(
            "alphas_cumprod", settings.schedule.alphas_cumprod().float(), persistent=False
        )

    def amplitudes(self, time: Tensor, alphas_cumprod: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
        """α and σ at each sample's time, shaped to broadcast over (B, C, \\*spatial)."""
        kept = alphas_cumprod.to(time.device)[time.long()].view(-1, *(1,) * (ndim - 1)).float()
        return kept.sqrt(), (1 - kept).sqrt()


def extrapolated(
    guided: Callable[[], Tensor] | None, unguided: Callable[[], Tensor], guidance: float
) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022); terms of weight 0 are not computed."""
    if guided is None or guidance == 0:
        return unguided()
    if guidance == 1:
        return guided()
    without = unguided()
    return without + guidance * (guided() - without)


class Denoiser(VariancePreserving):
    """Estimates x0 from x_t, t and the guides of a source.

    Parameters
    ----------
    network : NetworkSettings
        Its input is the channels of the sample, followed by those of the guides.
    settings : DiffusionSettings
    guides : GuideSet
    spatial_dims : int
        2 or 3.
    images : int
        Number of channels of the source (`chiasm.image.context`).
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
        self.codec = ImageCodec()
        self.network = network.build(spatial_dims, 1 + self.guide_channels, 1)

    @property
    def divisible_by(self) -> int:
        """The number of which every spatial size of an image must be a multiple."""
        return math.lcm(self.network.divisible_by, self.guides.divisible_by)

    def conditioning(self, guide: PreparedGuide, x_t: Tensor, time: Tensor) -> Tensor:
        """The channels of the guides at this network evaluation."""
        image = self.codec.decode(x_t) if self.guides.needs_sample else None
        return guide(image, time)

    def predict(self, x_t: Tensor, time: Tensor, channels: Tensor) -> Tensor:
        """The prediction of the network in its parameterisation, float32."""
        return self.network(torch.cat([x_t, channels], dim=1), time).float()

    def bind(
        self,
        source: Tensor | None,
        *,
        alphas_cumprod: Tensor | None = None,
        guidance: float | None = None,
    ) -> Denoise:
        """The function (x_t, t) → x0 for a sampler.

        Parameters
        ----------
        source : Tensor, shape (B, images, \\*spatial), or None
            In [0, 1]; None drops every guide.
        alphas_cumprod : Tensor, optional
            ᾱ of the scheduler (`alphas_cumprod_of`), if it differs from that of training.
        guidance : float, optional
            1 uses the guided estimate and 0 the unguided one. Values above 1 extrapolate from the
            unguided estimate beyond the guided one (Ho & Salimans 2022).
        """
        guidance = self.settings.guidance if guidance is None else guidance
        kept = self.alphas_cumprod if alphas_cumprod is None else alphas_cumprod
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
