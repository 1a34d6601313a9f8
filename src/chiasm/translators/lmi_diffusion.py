"""Diffusion of the target modality, guided at every step by the source (LMIDiffusion)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.denoiser import Denoiser, DiffusionSettings
from chiasm.diffusion.sampling import first_noise, generators, sample, signal_of
from chiasm.guides import GuideSet, guide_from_config
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.base import NetworkTranslator


class LMIDiffusion(NetworkTranslator):
    """From pure noise to the target; the guides of the source meet x_t at every evaluation."""

    runs = ("lmi-diffusion",)

    @staticmethod
    def build(config: ModelConfig) -> Denoiser:
        """The denoiser of a config, with fresh weights."""
        return Denoiser(
            NetworkSettings.model_validate(config.network),
            DiffusionSettings.model_validate(config.diffusion or {}),
            GuideSet([guide_from_config(guide) for guide in config.guides]),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    @property
    def diffusion(self) -> DiffusionSettings:
        """The model's settings under this run's options."""
        given = {
            key: getattr(self.options, key)
            for key in ("steps", "scheduler", "guidance", "edit_from")
            if getattr(self.options, key) is not None
        }
        return DiffusionSettings.model_validate((self.model.config.diffusion or {}) | given)

    def evaluations(self) -> int:
        return self.diffusion.steps

    def settings(self) -> dict[str, Any]:
        chosen = self.diffusion
        names = ("scheduler", "steps", "guidance", "parameterisation")
        return {name: getattr(chosen, name) for name in names} | {"seed": self.options.seed}

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        chosen, module = self.diffusion, self.model.module
        scheduler = chosen.schedule.scheduler(chosen.scheduler, chosen.parameterisation)
        denoise = module.bind(source, signal=signal_of(scheduler), guidance=chosen.guidance)
        streams = generators(self.options.seed, places)
        start = first_noise(_sample_shape(module, source), streams).to(source.device)
        result = sample(denoise, scheduler, chosen.steps, start, streams, on_step=on_step)
        return module.codec.decode(result)


def _sample_shape(module: Denoiser, source: Tensor) -> tuple[int, ...]:
    spatial = (size // module.codec.factor for size in source.shape[2:])
    return (module.codec.channels, *spatial)
