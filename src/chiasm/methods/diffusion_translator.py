"""The base of all translators that run a diffusion process."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import ValidationError
from torch import Tensor

from chiasm.diffusion.denoiser import DiffusionSettings
from chiasm.diffusion.sampling import alphas_cumprod_of, first_noise, generators, sample
from chiasm.errors import UsageError, explain, illegal_setting
from chiasm.machine.device import Resources
from chiasm.methods.base import NetworkTranslator
from chiasm.methods.method import flag
from chiasm.methods.options import SamplingOptions
from chiasm.models import Model


class DiffusionTranslator(NetworkTranslator):
    """A translator that runs the reverse process of a diffusion model.

    Its options replace the model's own defaults (``settings.diffusion`` of the config).

    Raises
    ------
    UsageError
        An option is illegal, or the scheduler cannot sample the model's parameterisation.
    """

    draws_noise = True
    options: SamplingOptions
    # The class that reads the model's diffusion settings.
    diffusion_settings: ClassVar[type[DiffusionSettings]] = DiffusionSettings

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        kind = self.diffusion_settings
        own = model.settings(kind, "diffusion")
        given = {
            key: value
            for key in kind.model_fields
            if (value := getattr(options, key, None)) is not None
        }
        try:
            self.diffusion = kind.model_validate(own.model_dump() | given)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            said = illegal_setting(first, kind)
            raise UsageError(explain(flag(key), given.get(key), *said)) from None
        self.scheduler()  # raises UsageError before any scan is read

    def scheduler(self) -> Any:
        """A new scheduler with the settings of this run."""
        chosen = self.diffusion
        return chosen.schedule.scheduler(chosen.scheduler, chosen.parameterisation)

    @property
    def share(self) -> float:
        """The share of the process that is run. It is 1 unless the process starts from an image."""
        return 1.0

    def evaluations(self) -> int:
        steps = self.diffusion.steps
        return max(1, steps - round(steps * (1 - self.share)))

    def settings(self) -> dict[str, Any]:
        chosen = self.diffusion
        names = ("scheduler", "steps", "parameterisation")
        return {name: getattr(chosen, name) for name in names} | {"seed": self.seed}

    @abstractmethod
    def denoiser(self, source: Tensor, alphas_cumprod: Tensor) -> Any:
        """The function (x_t, t) → x0 for a batch of sources, which the sampler calls."""

    def start(self, source: Tensor, slice_indices: list[int]) -> Tensor | None:
        """The clean samples that are noised as the start of the process; None for pure noise."""
        return None

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        denoise = self.denoiser(source, alphas_cumprod_of(self.scheduler()))
        image = self.start(source, slice_indices)
        module, shared = self.model.module, getattr(self.options, "noise", "slice") == "shared"
        # Shared noise makes neighbouring slices alike.
        own = [0] * len(slice_indices) if shared else slice_indices
        streams = generators(self.seed, own)
        if image is None:
            begin = first_noise(sample_shape(module, source), streams).to(source.device)
        else:
            begin = image
        result = sample(
            denoise,
            self.scheduler(),
            self.diffusion.steps,
            begin,
            streams,
            from_time=None if image is None else self.share,
            on_step=on_step,
        )
        return module.codec.decode(result)


def sample_shape(module: Any, source: Tensor) -> tuple[int, ...]:
    """The shape of one clean sample for sources (B, images, \\*spatial), without the batch axis."""
    spatial = (size // module.codec.factor for size in source.shape[2:])
    return (module.codec.channels, *spatial)


def middle_image(source: Tensor) -> Tensor:
    """The middle image of (B, images, \\*spatial), without its neighbours: (B, 1, \\*spatial)."""
    middle = source.shape[1] // 2
    return source[:, middle : middle + 1]
