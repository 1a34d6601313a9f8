"""Any modality to any other, by diffusion in the latent of a VQ-GAN (ALDM)."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor

from chiasm.diffusion import steering
from chiasm.diffusion.denoiser import DiffusionSettings
from chiasm.diffusion.latent import LatentDenoiser, LatentSettings
from chiasm.diffusion.sampling import Denoise
from chiasm.memory import peak_bytes
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.lmi_diffusion import LMIDiffusion, sample_shape


class ALDM(LMIDiffusion):
    """Latent diffusion told of the source's latent, MS-SPADE's, and the target's label.

    Whole volumes or slices, as the model's context says. ``steering`` moves every estimate up the
    gradient of its local mutual information with the source, through the decoder: what a source of
    a modality that the model never saw is translated by.
    """

    runs = ("aldm",)
    modality: str | None = None

    @staticmethod
    def build(config: ModelConfig) -> LatentDenoiser:  # type: ignore[override]
        """The denoiser of a config, with fresh weights."""
        return LatentDenoiser(
            NetworkSettings.model_validate(config.network),
            DiffusionSettings.model_validate(config.diffusion or {}),
            LatentSettings.model_validate(config.latent or {}),
            spatial_dims=config.context.spatial_dims,
            modalities=len(config.targets),
        )

    def estimates_target(self) -> bool:
        settings = self.model.settings(LatentSettings, "latent")
        return settings.translator is not None

    def settings(self) -> dict[str, Any]:
        steered = self.diffusion.steering.model_dump() if self.options.steering else None
        own = {"to": self.model.config.target, "steering": steered}
        if getattr(self.model.module.translator, "tells_sources_apart", False):
            known = self.modality in self.model.config.targets
            own["source_taken_as"] = self.modality if known else "any other modality"
        return super().settings() | own

    def told(self, modality: str | None) -> ALDM:
        translator = copy(self)
        translator.modality = modality
        return translator

    def label(self, source: Tensor) -> Tensor:
        """Which modality is to be made of each sample, (B,)."""
        index = list(self.model.config.targets).index(self.model.config.target)
        return torch.full((len(source),), index, device=source.device)

    def origin(self, source: Tensor) -> list[int]:
        """Which modality each sample is; their count, for one that the model never saw."""
        known = list(self.model.config.targets)
        index = known.index(self.modality) if self.modality in known else len(known)
        return [index] * len(source)

    def memory(self, shape: tuple[int, ...]) -> int:
        """Of one network evaluation and the decoding, with its gradient if it is steered."""
        source = torch.zeros(1, device=self.model.module.signal.device).expand(shape)
        peak = peak_bytes(self._once, _middle(source))
        return peak + steering.MEMORY if self.options.steering else peak

    def _once(self, own: Tensor) -> None:
        module = self.model.module
        denoise = module.bind(
            own, self.label(own), self.origin(own), guidance=self.diffusion.guidance
        )
        time = torch.zeros(len(own), dtype=torch.long, device=own.device)
        x_t = own.new_zeros((len(own), *sample_shape(module, own)))
        x0 = denoise(x_t, time)
        if not self.options.steering:
            module.codec.decode(x0)
            return
        with torch.enable_grad():
            x0 = x0.requires_grad_()
            torch.autograd.grad(module.codec.decode(x0).sum(), x0)

    def denoiser(self, source: Tensor, signal: Tensor) -> Denoise:
        module, own = self.model.module, _middle(source)
        guidance = self.diffusion.guidance
        denoise = module.bind(
            own, self.label(own), self.origin(own), signal=signal, guidance=guidance
        )
        if not self.options.steering:
            return denoise
        return steering.steer(denoise, own, module.codec.decode, self.diffusion.steering)

    def estimate(self, source: Tensor) -> Tensor:
        return self.model.module.condition(source, self.label(source), self.origin(source)).like


def _middle(source: Tensor) -> Tensor:
    """The image itself, without its neighbours."""
    middle = source.shape[1] // 2
    return source[:, middle : middle + 1]
