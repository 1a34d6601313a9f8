"""The translator of CycleGAN."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.methods.base import NetworkTranslator
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings


class CycleGAN(NetworkTranslator):
    """Runs the network once, from source to target.

    It is not zero-shot: a source whose modality was not in the training is refused.
    """

    @staticmethod
    def build(config: ModelConfig) -> Any:
        """The network of a config, with fresh weights."""
        network = NetworkSettings.model_validate(config.network)
        return network.build(config.context.spatial_dims, config.context.images, 1)

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        result = self.model.module(source)
        on_step(1, 1)
        return result
