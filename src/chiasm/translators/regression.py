"""One step of a network from the guides of a source: no noise, no iteration."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet, guide_from_config
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.base import NetworkTranslator


class RegressionNetwork(nn.Module):
    """Guides of a source → the target image, in one pass.

    Parameters
    ----------
    network : NetworkSettings
    guides : GuideSet
        None may need x_t.
    spatial_dims, images : int
        Of the context.
    """

    def __init__(
        self, network: NetworkSettings, guides: GuideSet, *, spatial_dims: int, images: int
    ) -> None:
        super().__init__()
        if guides.needs_sample:
            legal = "guides of the source alone, e.g. lmi with maps ['source']"
            raise UsageError(explain("guides", "regression", "has no x_t to compare with", legal))
        self.guides = guides
        self.network = network.build(spatial_dims, guides.channels(images, spatial_dims), 1)

    @property
    def divisible_by(self) -> int:
        """What every spatial size must be a multiple of."""
        return self.network.divisible_by

    def forward(self, source: Tensor, randomised: Tensor | None = None) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → (B, 1, \\*spatial), about [0, 1]."""
        return self.network(self.guides.prepare(source, randomised)(None, None), None)


class Regression(NetworkTranslator):
    """Runs a `RegressionNetwork`."""

    runs = ("regression",)

    @staticmethod
    def build(config: ModelConfig) -> RegressionNetwork:
        """The network of a config, with fresh weights."""
        return RegressionNetwork(
            NetworkSettings.model_validate(config.network),
            GuideSet([guide_from_config(guide) for guide in config.guides]),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        result = self.model.module(source)
        on_step(1, 1)
        return result
