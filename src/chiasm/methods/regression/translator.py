"""The translator of regression."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet, guide_from_config
from chiasm.machine.device import Resources
from chiasm.methods.base import NetworkTranslator, TranslateAll
from chiasm.methods.regression.intensity_mapping import IntensityMappingSettings, measured_mapping
from chiasm.methods.regression.network import RegressionNetwork
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings

# Share of a box that the next one covers again.
_OVERLAP = 0.4
# Number of network inputs in which the intensity mapping is measured, to save time.
_MEASURED = 40


class Regression(NetworkTranslator):
    """Runs a `RegressionNetwork` once, or in refinement iterations if it learned a mapping."""

    mapping: Tensor | None = None

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        own = model.config.settings.get("intensity_mapping")
        wanted = getattr(options, "iterations", None)
        self.window = model.config.settings.get("window")
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
        errors = config.settings.get("error_network")
        return RegressionNetwork(
            NetworkSettings.model_validate(config.network),
            GuideSet([guide_from_config(one) for one in config.settings.get("guides", [])]),
            None if own is None else IntensityMappingSettings.model_validate(own),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
            learn_error=config.settings.get("learn_error", False),
            error_network=None if errors is None else NetworkSettings.model_validate(errors),
            error_scale=config.settings.get("error_scale", 1.0),
        )

    @property
    def gives_expected_error(self) -> bool:
        settings = self.model.config.settings
        return bool(settings.get("learn_error") or settings.get("error_network"))

    @property
    def fits(self) -> int:
        return self.iterations - 1

    def fitted_to(self, inputs: list[int]) -> list[int]:
        which = np.linspace(0, len(inputs) - 1, min(len(inputs), _MEASURED)).round()
        return [inputs[int(one)] for one in which]

    def settings(self) -> dict[str, Any]:
        return {"iterations": self.iterations}

    def fitted(self, source: Tensor, foreground: Tensor, translate: TranslateAll) -> Regression:
        fitted, middle = copy(self), source.shape[1] // 2
        inside = foreground[:, middle : middle + 1]
        for _ in range(self.iterations - 1):
            result = translate(fitted)[:, :1]
            seen = source[:, middle : middle + 1][inside][None]
            nodes = self.model.module.intensity_mapping.nodes
            fitted.mapping = measured_mapping(seen, result[inside][None], nodes)
        return fitted

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        mapping = None if self.mapping is None else self.mapping.to(source.device)
        predict = partial(self.model.module, mapping=mapping)
        if self.window is not None:
            predict = partial(in_windows, window=self.window, predict=predict)
        result: Tensor = predict(source)
        on_step(1, 1)
        return result


def in_windows(source: Tensor, window: list[int], predict: Callable[[Tensor], Tensor]) -> Tensor:
    """Run a network on overlapping boxes of a volume and average the results.

    The weights fall off from the centre of a box like a Gaussian (Isensee et al., Nature Methods
    2021), so that boxes leave no seams.

    Parameters
    ----------
    source : Tensor, shape (B, images, \\*spatial)
    window : list of int
        Size of a box. Volumes that are smaller are padded with zeros.
    predict : callable
        (1, images, \\*window) → (1, channels, \\*window).
    """
    from monai.inferers import sliding_window_inference

    result = sliding_window_inference(
        source, window, 1, predict, overlap=_OVERLAP, mode="gaussian", sigma_scale=0.2
    )
    assert isinstance(result, Tensor)  # the network returns one tensor
    return result
