"""The translator of regression."""

from __future__ import annotations

from copy import copy
from typing import Any

from torch import Tensor

from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet, guide_from_config
from chiasm.machine.device import Resources
from chiasm.methods.base import NetworkTranslator, TranslateAll
from chiasm.methods.regression.intensity_mapping import IntensityMappingSettings, measured_mapping
from chiasm.methods.regression.network import RegressionNetwork
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings


class Regression(NetworkTranslator):
    """Runs a `RegressionNetwork` once, or in refinement iterations if it learned a mapping."""

    mapping: Tensor | None = None

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        own = model.config.settings.get("intensity_mapping")
        wanted = getattr(options, "iterations", None)
        if own is None:
            if wanted not in (None, 1):
                problem = f"changes nothing, because {model.name} has no intensity mapping"
                raise UsageError(explain("--iterations", wanted, problem, "1"))
            self.iterations = 1
            return
        mapping = model.settings(IntensityMappingSettings, "intensity_mapping")
        self.iterations = wanted or mapping.iterations

    @staticmethod
    def build(config: ModelConfig) -> RegressionNetwork:
        """The network of a config, with fresh weights."""
        own = config.settings.get("intensity_mapping")
        return RegressionNetwork(
            NetworkSettings.model_validate(config.network),
            GuideSet([guide_from_config(one) for one in config.settings.get("guides", [])]),
            None if own is None else IntensityMappingSettings.model_validate(own),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    def evaluations(self) -> int:
        return self.iterations

    def settings(self) -> dict[str, Any]:
        return {"iterations": self.iterations}

    def fitted(self, source: Tensor, foreground: Tensor, translate: TranslateAll) -> Regression:
        fitted, middle = copy(self), source.shape[1] // 2
        inside = foreground[:, middle : middle + 1]
        for _ in range(self.iterations - 1):
            result = translate(fitted)
            seen = source[:, middle : middle + 1][inside][None]
            nodes = self.model.module.intensity_mapping.nodes
            fitted.mapping = measured_mapping(seen, result[inside][None], nodes)
        return fitted

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        mapping = None if self.mapping is None else self.mapping.to(source.device)
        result = self.model.module(source, mapping=mapping)
        on_step(1, 1)
        return result
