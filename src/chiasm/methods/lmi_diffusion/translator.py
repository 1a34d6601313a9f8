"""The translator of LMI diffusion."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.denoiser import Denoiser, DiffusionSettings
from chiasm.diffusion.sampling import Denoise
from chiasm.guides import GuideSet, guide_from_config
from chiasm.methods.diffusion_translator import DiffusionTranslator
from chiasm.methods.lmi_diffusion import Options
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings


class LMIDiffusion(DiffusionTranslator):
    """Diffusion from pure noise to the target; the source guides every network evaluation."""

    options: Options

    @staticmethod
    def build(config: ModelConfig) -> Denoiser:
        """The denoiser of a config, with fresh weights."""
        return Denoiser(
            NetworkSettings.model_validate(config.network),
            DiffusionSettings.model_validate(config.settings.get("diffusion") or {}),
            GuideSet([guide_from_config(one) for one in config.settings.get("guides", [])]),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    def settings(self) -> dict[str, Any]:
        own = {"guidance": self.diffusion.guidance, "noise": self.options.noise}
        return super().settings() | own

    def denoiser(self, source: Tensor, alphas_cumprod: Tensor) -> Denoise:
        return self.model.module.bind(
            source, alphas_cumprod=alphas_cumprod, guidance=self.diffusion.guidance
        )
