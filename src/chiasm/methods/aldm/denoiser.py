"""The denoiser of ALDM (Kim & Park, WACV 2024) works in the latent of a VQ-GAN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor

from chiasm.diffusion.denoiser import DiffusionSettings, VariancePreserving, extrapolated
from chiasm.diffusion.sampling import Denoise
from chiasm.errors import UsageError, explain
from chiasm.methods.aldm.codec import LatentCodec
from chiasm.methods.aldm.ms_spade import LatentTranslator
from chiasm.methods.aldm.source_unets import SourceUNets
from chiasm.methods.aldm.vqgan import VQGAN
from chiasm.networks import NetworkSettings

_TRANSLATORS = {"ms-spade": LatentTranslator, "source-unets": SourceUNets}


class LatentDiffusionSettings(DiffusionSettings):
    """Settings of the diffusion in a latent.

    Parameters
    ----------
    residual : bool
        Whether the network predicts the difference between the target's latent and the latent
        translator's estimate of it. This needs the parameterisation x0.
    """

    residual: bool = Field(default=False)

    @field_validator("residual")
    @classmethod
    def _of_x0(cls, residual: bool, others: ValidationInfo) -> bool:
        if residual and others.data.get("parameterisation") != "x0":
            raise ValueError("true needs the parameterisation x0")
        return residual


class LatentSettings(BaseModel):
    """Settings of the two networks that come before the diffusion.

    Parameters
    ----------
    autoencoder : dict
        Arguments of `chiasm.methods.aldm.vqgan.VQGAN`.
    translator : dict or None
        Arguments of `chiasm.methods.aldm.ms_spade.LatentTranslator`, or, with ``name:
        source-unets``, of `chiasm.methods.aldm.source_unets.SourceUNets`. With None there is no
        latent translator, and the diffusion is conditioned on the source's latent and the target's
        label alone.
    quantise : bool
        Whether the sampled latent is rounded to the nearest codes before it is decoded, as
        published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    autoencoder: dict[str, Any] = {}
    translator: dict[str, Any] | None = {}
    quantise: bool = True


@dataclass(frozen=True)
class LatentCondition:
    """The condition of the denoiser: the latents of a source and the target's label.

    Attributes
    ----------
    source : Tensor, shape (B, C, \\*spatial / factor)
        The source's latent.
    like : Tensor or None
        The latent translator's estimate of the target's latent.
    label : Tensor, shape (B,)
        The index of the target modality.
    """

    source: Tensor
    like: Tensor | None
    label: Tensor

    @property
    def channels(self) -> Tensor:
        """All latents, concatenated along the channels."""
        return self.source if self.like is None else torch.cat([self.source, self.like], dim=1)

    def without_source(self, kept: Tensor | None = None) -> LatentCondition:
        """The condition with latents of 0, except for samples where ``kept``, (B,), is true."""
        share = self.source.new_zeros(len(self.label)) if kept is None else kept.to(self.source)
        share = share.view(-1, *(1,) * (self.source.ndim - 1))
        like = None if self.like is None else self.like * share
        return LatentCondition(self.source * share, like, self.label)


class LatentDenoiser(VariancePreserving):
    """Estimates the target's latent from the noisy latent and a `LatentCondition`.

    Parameters
    ----------
    network : NetworkSettings
        Settings of the denoising network, which takes class labels.
    settings : LatentDiffusionSettings
    latent : LatentSettings
    spatial_dims : int
        2 or 3.
    modalities : int
        The number of modalities.

    Raises
    ------
    UsageError
        The networks cannot be built from these settings, or ``residual`` is set without a latent
        translator.
    """

    def __init__(
        self,
        network: NetworkSettings,
        settings: LatentDiffusionSettings,
        latent: LatentSettings,
        *,
        spatial_dims: int,
        modalities: int,
    ) -> None:
        super().__init__(settings)
        self.residual = settings.residual
        try:
            self.codec = LatentCodec(
                VQGAN(spatial_dims, 1, 1, **latent.autoencoder), quantise=latent.quantise
            )
            self.translator = _translator(
                latent.translator, (spatial_dims, modalities, self.codec.channels)
            )
        except (TypeError, ValueError) as error:
            problem = str(error).splitlines()[0]
            legal = "the arguments of VQGAN, and of LatentTranslator or SourceUNets"
            raise UsageError(explain("latent", latent.model_dump(), problem, legal)) from None
        if settings.residual and self.translator is None:
            problem = "needs the estimate of a latent translator, and there is none"
            legal = "false, or true with a latent.translator"
            raise UsageError(explain("diffusion.residual", True, problem, legal))
        self.modalities = modalities
        channels = self.codec.channels
        seen = channels * (2 if self.translator is None else 3)
        labelled = network.arguments | {"num_class_embeds": modalities}
        network = network.model_copy(update={"arguments": labelled})
        self.network = network.build(spatial_dims, seen, channels)

    @property
    def divisible_by(self) -> int:
        """Every spatial size of an image must be a multiple of this."""
        return self.network.divisible_by * self.codec.factor

    def condition(
        self, source: Tensor, label: Tensor, source_index: Sequence[int] | None = None
    ) -> LatentCondition:
        """The condition that a batch of sources gives.

        Parameters
        ----------
        source : Tensor, shape (B, 1, \\*spatial)
            In [0, 1].
        label : Tensor, shape (B,)
            The index of the target modality.
        source_index : sequence of B int, optional
            The index of the source modality. The value ``modalities``, which is the default,
            stands for any other modality.
        """
        return self.condition_of(self.codec.encode(source), label, source_index)

    def condition_of(
        self, latent: Tensor, label: Tensor, source_index: Sequence[int] | None = None
    ) -> LatentCondition:
        """As `condition`, from the sources' latents (B, C, \\*spatial / factor)."""
        source_index = [self.modalities] * len(latent) if source_index is None else source_index
        like = None if self.translator is None else self.translator(latent, label, source_index)
        return LatentCondition(latent, like, label)

    def predict(self, x_t: Tensor, time: Tensor, condition: LatentCondition) -> Tensor:
        """The network's prediction in its parameterisation, as float32."""
        seen = torch.cat([x_t, condition.channels], dim=1)
        output = self.network(seen, time, condition.label).float()
        if self.residual:
            assert condition.like is not None  # the constructor makes sure of it
            return output + condition.like
        return output

    def bind(
        self,
        source: Tensor,
        label: Tensor,
        source_index: Sequence[int] | None = None,
        *,
        alphas_cumprod: Tensor | None = None,
        guidance: float | None = None,
    ) -> Denoise:
        """The function (x_t, t) → x0 that a sampler runs.

        Parameters
        ----------
        source : Tensor, shape (B, 1, \\*spatial)
            In [0, 1].
        label, source_index
            As in `condition`.
        alphas_cumprod, guidance
            As in `chiasm.diffusion.denoiser.Denoiser.bind`. The unguided estimate does not use the
            source.
        """
        guidance = self.settings.guidance if guidance is None else guidance
        kept = self.alphas_cumprod if alphas_cumprod is None else alphas_cumprod
        condition = self.condition(source, label, source_index)

        def denoise(x_t: Tensor, time: Tensor) -> Tensor:
            alpha, sigma = self.amplitudes(time, kept, x_t.ndim)

            def x0(seen: LatentCondition) -> Tensor:
                output = self.predict(x_t, time, seen)
                return self.parameterisation.x0(output, x_t, alpha, sigma)

            return extrapolated(
                lambda: x0(condition), lambda: x0(condition.without_source()), guidance
            )

        return denoise


def _translator(settings: dict[str, Any] | None, sizes: tuple[int, int, int]) -> Any:
    """The latent translator, built from its name and arguments."""
    if settings is None:
        return None
    arguments = dict(settings)
    name = arguments.pop("name", "ms-spade")
    if name not in _TRANSLATORS:
        legal = ", ".join(_TRANSLATORS)
        raise UsageError(explain("latent.translator.name", name, "is not a known network", legal))
    return _TRANSLATORS[name](*sizes, **arguments)
