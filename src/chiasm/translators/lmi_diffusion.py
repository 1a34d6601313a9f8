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
from chiasm.registry import GUIDES
from chiasm.translators.base import NetworkTranslator, RunOptions


class LMIDiffusion(NetworkTranslator):
    """From pure noise to the target; the guides of the source meet x_t at every evaluation."""

    runs = ("lmi-diffusion",)
    draws_noise = True
    steers = False  # whether it steers without being asked

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
            for key in ("steps", "scheduler", "guidance", "start", "edit_from")
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
        start = self.diffusion.start
        if start != "noise" and not self.estimates_target():
            problem = f"has no estimate to start from in {model.name}"
            legal = "noise, or a model with the guide translation"
            raise UsageError(explain("--start", start, problem, legal))
        if start == "estimate" and (self.steers or self.options.steering):
            problem = "leaves no step to steer"
            raise UsageError(explain("--start", start, problem, "noise or guide with --steering"))
        self._scheduler()  # refuses a pair that cannot be sampled before any scan is read

    def estimates_target(self) -> bool:
        """Whether the model has an estimate of the target to start from."""
        guides = [GUIDES.load(str(one.get("name")), "guide") for one in self.model.config.guides]
        return any(guide.estimates_target for guide in guides)

    def _scheduler(self) -> Any:
        chosen = self.diffusion
        return chosen.schedule.scheduler(chosen.scheduler, chosen.parameterisation)

    @property
    def share(self) -> float:
        """Of the process that is run: all of it, unless it starts from an image."""
        return {"noise": 1.0, "estimate": 0.0}.get(self.diffusion.start, self.diffusion.edit_from)

    def evaluations(self) -> int:
        steps = self.diffusion.steps
        return max(1, steps - round(steps * (1 - self.share)))

    def settings(self) -> dict[str, Any]:
        chosen = self.diffusion
        names = ("scheduler", "steps", "guidance", "parameterisation", "start")
        own = {name: getattr(chosen, name) for name in names}
        return own | {"seed": self.options.seed, "noise": self.options.noise}

    def denoiser(self, source: Tensor, signal: Tensor) -> Denoise:
        """The function (x_t, t) → x0 that is sampled for a batch of sources."""
        return self.model.module.bind(source, signal=signal, guidance=self.diffusion.guidance)

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        if self.diffusion.start == "estimate":
            made = self.model.module.codec.decode(self.estimate(source))
            if on_step:
                on_step(1, 1)
            return made
        denoise = self.denoiser(source, signal_of(self._scheduler()))
        image = None if self.diffusion.start == "noise" else self.estimate(source)
        return self.solve(denoise, source, places, image, on_step)

    def estimate(self, source: Tensor) -> Tensor:
        """The model's own estimate of the target, as a clean sample."""
        return self.model.module.estimate(source)

    def solve(
        self,
        denoise: Denoise,
        source: Tensor,
        places: list[int],
        image: Tensor | None,
        on_step: Any,
    ) -> Tensor:
        """Sample from pure noise, or from a clean sample ``image`` under noise of time ``share``.

        Noise of each sample comes from the seed and its place in the volume, or from the seed
        alone where all slices share it: then what noise decides is decided alike in neighbours.
        """
        module, shared = self.model.module, self.options.noise == "shared"
        streams = generators(self.options.seed, [0] * len(places) if shared else places)
        if image is None:
            start = first_noise(sample_shape(module, source), streams).to(source.device)
        else:
            start = image
        result = sample(
            denoise,
            self._scheduler(),
            self.diffusion.steps,
            start,
            streams,
            from_time=None if image is None else self.share,
            on_step=on_step,
        )
        return module.codec.decode(result)


def sample_shape(module: Any, source: Tensor) -> tuple[int, ...]:
    """Of the clean sample of one source (B, images, \\*spatial), without the batch."""
    spatial = (size // module.codec.factor for size in source.shape[2:])
    return (module.codec.channels, *spatial)
