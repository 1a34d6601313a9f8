"""CycleGAN: a network that has learned one source modality from unpaired images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.base import NetworkTranslator


class CycleGAN(NetworkTranslator):
    """One pass of the network from source to target.

    Not zero-shot: a source of another modality than those of training is refused.
    """

    runs = ("cyclegan",)

    @staticmethod
    def build(config: ModelConfig) -> Any:
        """The network of a config, with fresh weights."""
        network = NetworkSettings.model_validate(config.network)
        return network.build(config.context.spatial_dims, config.context.images, 1)

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        result = self.model.module(source)
        on_step(1, 1)
        return result
