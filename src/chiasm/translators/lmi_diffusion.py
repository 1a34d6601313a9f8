"""Diffusion of the target modality, guided at every step by the source (LMIDiffusion)."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from torch import Tensor

from chiasm.diffusion.denoiser import Denoiser, DiffusionSettings
from chiasm.diffusion.sampling import Denoise, first_noise, generators, sample, signal_of
from chiasm.errors import CaseError, UsageError, explain
from chiasm.guides import GuideSet, guide_from_config
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.base import NetworkTranslator, RunOptions


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

    def __init__(self, model: Model, options: RunOptions | None = None) -> None:
        super().__init__(model, options)
        given = {
            key: getattr(self.options, key)
            for key in ("steps", "scheduler", "guidance", "edit_from")
            if getattr(self.options, key) is not None
        }
        own = model.config.diffusion or {}
        if self.options.steering is not None:
            given["steering"] = own.get("steering", {}) | {"strength": self.options.steering}
        try:
            # The model's settings under this run's options.
            self.diffusion = DiffusionSettings.model_validate(own | given)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if key in given:
                problem = "is not legal"
                raise UsageError(explain(f"--{key}", given[key], problem, first["msg"])) from None
            problem = f"has a config with an illegal diffusion.{key}"
            raise CaseError(explain("--model", model.folder, problem, first["msg"])) from None
        self._scheduler()  # refuses a pair that cannot be sampled before any scan is read

    def _scheduler(self) -> Any:
        chosen = self.diffusion
        return chosen.schedule.scheduler(chosen.scheduler, chosen.parameterisation)

    def evaluations(self) -> int:
        return self.diffusion.steps

    def settings(self) -> dict[str, Any]:
        chosen = self.diffusion
        names = ("scheduler", "steps", "guidance", "parameterisation")
        return {name: getattr(chosen, name) for name in names} | {"seed": self.options.seed}

    def denoiser(self, source: Tensor, signal: Tensor) -> Denoise:
        """The function (x_t, t) → x0 that is sampled for a batch of sources."""
        return self.model.module.bind(source, signal=signal, guidance=self.diffusion.guidance)

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        chosen, module, scheduler = self.diffusion, self.model.module, self._scheduler()
        denoise = self.denoiser(source, signal_of(scheduler))
        streams = generators(self.options.seed, places)
        start = first_noise(_sample_shape(module, source), streams).to(source.device)
        result = sample(denoise, scheduler, chosen.steps, start, streams, on_step=on_step)
        return module.codec.decode(result)


def _sample_shape(module: Denoiser, source: Tensor) -> tuple[int, ...]:
    spatial = (size // module.codec.factor for size in source.shape[2:])
    return (module.codec.channels, *spatial)
