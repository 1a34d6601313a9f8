"""Diffusion in the latent of a VQ-GAN, to any of several modalities (ALDM, Kim & Park 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from chiasm.diffusion.codec import LatentCodec
from chiasm.diffusion.denoiser import DiffusionSettings, VariancePreserving, extrapolated
from chiasm.diffusion.sampling import Denoise
from chiasm.errors import UsageError, explain
from chiasm.networks import NetworkSettings
from chiasm.networks.ms_spade import LatentTranslator
from chiasm.networks.source_unets import SourceUNets
from chiasm.networks.vqgan import VQGAN

_TRANSLATORS = {"ms-spade": LatentTranslator, "source-unets": SourceUNets}


class LatentSettings(BaseModel):
    """The two networks that lead to where diffusion happens.

    Parameters
    ----------
    autoencoder : dict
        Arguments of `chiasm.networks.vqgan.VQGAN`.
    translator : dict or None
        Arguments of `chiasm.networks.ms_spade.LatentTranslator`, or with ``name: source-unets`` of
        `chiasm.networks.source_unets.SourceUNets`; None for plain latent diffusion, conditioned on
        the source's latent and the target's label alone.
    quantise : bool
        Decode through the codes, as published; else the latent as it was sampled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    autoencoder: dict[str, Any] = {}
    translator: dict[str, Any] | None = {}
    quantise: bool = True


@dataclass(frozen=True)
class LatentCondition:
    """What the denoiser is told of a source: its latents, and the target's label.

    Attributes
    ----------
    source : Tensor, shape (B, C, \\*spatial / factor)
        The source's latent.
    like : Tensor or None
        What MS-SPADE made of it: a latent like the target's.
    label : Tensor, shape (B,)
        Which modality is to be made.
    """

    source: Tensor
    like: Tensor | None
    label: Tensor

    @property
    def channels(self) -> Tensor:
        """All that lies on the latent's lattice, side by side."""
        return self.source if self.like is None else torch.cat([self.source, self.like], dim=1)

    def without_source(self, kept: Tensor | None = None) -> LatentCondition:
        """The same where ``kept``, (B,), else with latents of 0; the label stays."""
        share = self.source.new_zeros(len(self.label)) if kept is None else kept.to(self.source)
        share = share.view(-1, *(1,) * (self.source.ndim - 1))
        like = None if self.like is None else self.like * share
        return LatentCondition(self.source * share, like, self.label)


class LatentDenoiser(VariancePreserving):
    """Estimates a target's latent from its noisy one, the source's, MS-SPADE's and the label.

    Parameters
    ----------
    network : NetworkSettings
        Of the denoising network, which takes class labels.
    settings : DiffusionSettings
    latent : LatentSettings
    spatial_dims, modalities : int
        2 or 3, and how many there are.
    """

    def __init__(
        self,
        network: NetworkSettings,
        settings: DiffusionSettings,
        latent: LatentSettings,
        *,
        spatial_dims: int,
        modalities: int,
    ) -> None:
        super().__init__(settings)
        try:
            self.codec = LatentCodec(
                VQGAN(spatial_dims, 1, 1, **latent.autoencoder), quantise=latent.quantise
            )
            self.translator = _translator(
                latent.translator, (spatial_dims, modalities, self.codec.channels)
            )
        except (TypeError, ValueError) as error:
            problem = str(error).splitlines()[0]
            legal = "what VQGAN and LatentTranslator or SourceUNets take"
            raise UsageError(explain("latent", latent.model_dump(), problem, legal)) from None
        if settings.residual and self.translator is None:
            problem = "has nothing to add to"
            raise UsageError(explain("diffusion.residual", True, problem, "a latent.translator"))
        self.modalities = modalities
        channels = self.codec.channels
        seen = channels * (2 if self.translator is None else 3)
        labelled = network.arguments | {"num_class_embeds": modalities}
        network = network.model_copy(update={"arguments": labelled})
        self.network = network.build(spatial_dims, seen, channels)

    @property
    def divisible_by(self) -> int:
        """What every spatial size of an image must be a multiple of."""
        return self.network.divisible_by * self.codec.factor

    def condition(
        self, source: Tensor, label: Tensor, origin: Sequence[int] | None = None
    ) -> LatentCondition:
        """What sources say of the modalities to be made.

        Parameters
        ----------
        source : Tensor, shape (B, 1, \\*spatial)
            In [0, 1].
        label : Tensor, shape (B,)
            Which modality is to be made.
        origin : sequence of B int, optional
            Which modality the source is; ``modalities``, as if it is not given, for any other.
        """
        return self.condition_of(self.codec.encode(source), label, origin)

    def condition_of(
        self, latent: Tensor, label: Tensor, origin: Sequence[int] | None = None
    ) -> LatentCondition:
        """The same of the sources' latents, (B, C, \\*spatial / factor)."""
        origin = [self.modalities] * len(latent) if origin is None else origin
        like = None if self.translator is None else self.translator(latent, label, origin)
        return LatentCondition(latent, like, label)

    def predict(self, x_t: Tensor, time: Tensor, condition: LatentCondition) -> Tensor:
        """What the network predicts, in its parameterisation; float32."""
        seen = torch.cat([x_t, condition.channels], dim=1)
        output = self.network(seen, time, condition.label).float()
        if self.settings.residual:
            assert condition.like is not None  # else refused when it was built
            return output + condition.like
        return output

    def bind(
        self,
        source: Tensor,
        label: Tensor,
        origin: Sequence[int] | None = None,
        *,
        signal: Tensor | None = None,
        guidance: float | None = None,
    ) -> Denoise:
        """The function (x_t, t) → x0 that a sampler runs.

        Parameters
        ----------
        source : Tensor, shape (B, 1, \\*spatial)
            In [0, 1].
        label, origin
            As in `condition`.
        signal, guidance
            As in `chiasm.diffusion.denoiser.Denoiser.bind`; unguided is without the source.
        """
        guidance = self.settings.guidance if guidance is None else guidance
        kept = self.signal if signal is None else signal
        condition = self.condition(source, label, origin)

        def denoise(x_t: Tensor, time: Tensor) -> Tensor:
            alpha, sigma = self.amplitudes(time, kept, x_t.ndim)

            def x0(told: LatentCondition) -> Tensor:
                output = self.predict(x_t, time, told)
                return self.parameterisation.x0(output, x_t, alpha, sigma)

            return extrapolated(
                lambda: x0(condition), lambda: x0(condition.without_source()), guidance
            )

        return denoise


def _translator(settings: dict[str, Any] | None, sizes: tuple[int, int, int]) -> Any:
    """The network that comes before diffusion, by its name and arguments."""
    if settings is None:
        return None
    arguments = dict(settings)
    name = arguments.pop("name", "ms-spade")
    if name not in _TRANSLATORS:
        legal = ", ".join(_TRANSLATORS)
        raise UsageError(explain("latent.translator.name", name, "is not known", legal))
    return _TRANSLATORS[name](*sizes, **arguments)
