"""The translator of StyleGAN inversion."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from chiasm.errors import UsageError, explain
from chiasm.machine.device import Resources
from chiasm.methods.base import NetworkTranslator
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.registry import NETWORKS
from stylegan.generator import StyleGenerator, style_generator
from stylegan.inversion import InversionSettings, invert


class StyleGAN(NetworkTranslator):
    """Finds the generator's image that agrees with each sample of the source.

    The generator was trained on target images alone. A sample smaller than the training images is
    padded at its ends, as they were. For a larger sample, the generator's constant is interpolated.
    """

    @staticmethod
    def build(config: ModelConfig) -> StyleGenerator:
        """The generator of a config, with fresh weights."""
        network = NetworkSettings.model_validate(config.network)
        if NETWORKS.load(network.name, "network.name") is not style_generator:
            problem = "does not make images from latents"
            raise UsageError(explain("network.name", network.name, problem, "style-generator"))
        return network.build(config.context.spatial_dims, 0, 1)

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        given = {} if options.iterations is None else {"iterations": options.iterations}
        self.inversion = model.settings(InversionSettings, "inversion", **given)

    def evaluations(self) -> int:
        return self.inversion.iterations

    def settings(self) -> dict[str, Any]:
        return {"inversion": self.inversion.model_dump()}

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        generator = self.model.module
        middle = source.shape[1] // 2
        own = source.shape[2:]
        size = [max(sizes) for sizes in zip(own, generator.size or own, strict=True)]
        extra = [(0, full - n) for full, n in zip(size, own, strict=True)]
        # torch pads the last axis first.
        padding = [n for ends in reversed(extra) for n in ends]
        padded = functional.pad(source[:, middle : middle + 1], padding)
        image = invert(generator, padded, self.inversion, on_step)
        where: tuple[Any, ...] = (..., *(slice(n) for n in own))
        return image[where]
