"""StyleGAN inversion: the image of the target's generator that agrees with the source."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.networks.style_generator import StyleGenerator, style_generator
from chiasm.registry import NETWORKS
from chiasm.translators.base import NetworkTranslator, RunOptions
from chiasm.translators.inversion import InversionSettings, invert


class StyleGAN(NetworkTranslator):
    """Seeks latents for every sample; the generator has seen the target alone.

    A sample smaller than those of training is padded at its ends, as those were; for a larger one
    the generator's constant is interpolated.
    """

    runs = ("stylegan",)

    @staticmethod
    def build(config: ModelConfig) -> StyleGenerator:
        """The generator of a config, with fresh weights."""
        network = NetworkSettings.model_validate(config.network)
        if NETWORKS.load(network.name, "network.name") is not style_generator:
            problem = "makes no image of latents"
            raise UsageError(explain("network.name", network.name, problem, "style-generator"))
        return network.build(config.context.spatial_dims, 0, 1)

    def __init__(self, model: Model, options: RunOptions | None = None) -> None:
        super().__init__(model, options)
        given = {} if self.options.steps is None else {"steps": self.options.steps}
        self.inversion = model.settings(InversionSettings, "inversion", **given)

    def evaluations(self) -> int:
        return self.inversion.steps

    def settings(self) -> dict[str, Any]:
        return {"inversion": self.inversion.model_dump()}

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        generator = self.model.module
        middle = source.shape[1] // 2
        own = source.shape[2:]
        size = [max(sizes) for sizes in zip(own, generator.size or own, strict=True)]
        extra = [(0, full - n) for full, n in zip(size, own, strict=True)]
        # torch pads from the last axis on.
        padding = [n for ends in reversed(extra) for n in ends]
        padded = functional.pad(source[:, middle : middle + 1], padding)
        image = invert(generator, padded, self.inversion, on_step)
        where: tuple[Any, ...] = (..., *(slice(n) for n in own))
        return image[where]
