"""One step of a network from the guides of a source: no noise, no sampling."""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet, guide_from_config
from chiasm.guides.calibration import CalibrationSettings, curve_of, unknown
from chiasm.guides.randomise import intensity_map
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.translators.base import NetworkTranslator, TranslateAll


class RegressionNetwork(nn.Module):
    """Guides of a source → the target image, in one pass.

    Parameters
    ----------
    network : NetworkSettings
    guides : GuideSet
        None may need x_t.
    calibration : CalibrationSettings or None
        With it, the network also sees the source mapped through a curve
        (`chiasm.guides.calibration`), one channel for each of its slices.
    spatial_dims, images : int
        Of the context.
    """

    def __init__(
        self,
        network: NetworkSettings,
        guides: GuideSet,
        calibration: CalibrationSettings | None = None,
        *,
        spatial_dims: int,
        images: int,
    ) -> None:
        super().__init__()
        if guides.needs_sample:
            legal = "guides of the source alone, e.g. lmi with maps ['source']"
            raise UsageError(explain("guides", "regression", "has no x_t to compare with", legal))
        self.guides = guides
        self.calibration = calibration
        channels = guides.channels(images, spatial_dims) + (images if calibration else 0)
        self.network = network.build(spatial_dims, channels, 1)

    @property
    def divisible_by(self) -> int:
        """What every spatial size must be a multiple of."""
        return math.lcm(self.network.divisible_by, self.guides.divisible_by)

    def forward(
        self, source: Tensor, randomised: Tensor | None = None, curve: Tensor | None = None
    ) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → (B, 1, \\*spatial), about [0, 1].

        ``curve`` (B or 1, nodes) is of the image that the guides see; None where it is not known.
        """
        return self.network(self.channels(source, randomised, curve), None)

    def channels(
        self, source: Tensor, randomised: Tensor | None = None, curve: Tensor | None = None
    ) -> Tensor:
        """What the network sees of a source, (B, channels, \\*spatial): guides, then its curve."""
        channels = self.guides.prepare(source, randomised)(None, None)
        if self.calibration:
            seen = source if randomised is None else randomised
            if curve is None:
                curve = unknown(seen.new_empty((1, self.calibration.nodes)))
            mapped = intensity_map(seen, curve.expand(len(seen), -1))
            channels = torch.cat([channels, mapped * 2 - 1], dim=1)
        return channels


class Regression(NetworkTranslator):
    """Runs a `RegressionNetwork`: once, or in passes where it is calibrated.

    ``options.steps`` is the number of passes.
    """

    runs = ("regression",)
    curve: Tensor | None = None

    @staticmethod
    def build(config: ModelConfig) -> RegressionNetwork:
        """The network of a config, with fresh weights."""
        own = config.calibration
        return RegressionNetwork(
            NetworkSettings.model_validate(config.network),
            GuideSet([guide_from_config(guide) for guide in config.guides]),
            None if own is None else CalibrationSettings.model_validate(own),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    def evaluations(self) -> int:
        own = self.model.config.calibration
        if own is None:
            return 1
        return self.options.steps or CalibrationSettings.model_validate(own).passes

    def settings(self) -> dict[str, Any]:
        return {"passes": self.evaluations()}

    def fitted(self, source: Tensor, head: Tensor, translate: TranslateAll) -> Regression:
        fitted, middle = copy(self), source.shape[1] // 2
        inside = head[:, middle : middle + 1]
        for _ in range(self.evaluations() - 1):
            result = translate(fitted)
            seen = source[:, middle : middle + 1][inside][None]
            fitted.curve = curve_of(seen, result[inside][None], self.model.module.calibration.nodes)
        return fitted

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        curve = None if self.curve is None else self.curve.to(source.device)
        result = self.model.module(source, curve=curve)
        on_step(1, 1)
        return result
