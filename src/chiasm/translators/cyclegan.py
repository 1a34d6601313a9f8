"""CycleGAN: a network that has learned one source modality from unpaired images."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.base import NetworkTranslator, Translation
from chiasm.volume import Volume


class CycleGAN(NetworkTranslator):
    """One pass of the network from source to target.

    Not zero-shot: any other source than those of training is translated all the same, but the
    record says so.
    """

    runs = ("cyclegan",)

    @staticmethod
    def build(config: ModelConfig) -> Any:
        """The network of a config, with fresh weights."""
        network = NetworkSettings.model_validate(config.network)
        return network.build(config.context.spatial_dims, config.context.images, 1)

    @property
    def sources(self) -> list[str]:
        """The modalities that it has learned to translate."""
        return self.model.config.training.get("settings", {}).get("sources", [])

    def settings(self) -> dict[str, Any]:
        return {"trained_sources": self.sources}

    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        result = super().translate(volume, mask)
        if volume.modality in self.sources:
            return result
        learned = " and ".join(self.sources) or "no recorded source"
        warning = f"this model has learned to translate {learned}, not {volume.modality}"
        return Translation(result.volume, result.record | {"warning": warning})

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        result = self.model.module(source)
        on_step(1, 1)
        return result
