"""Histogram matching, the classical baseline."""

from __future__ import annotations

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.methods.base import IntensityTranslator
from chiasm.methods.method import Method


class Histogram(IntensityTranslator):
    """Maps the intensities of the foreground monotonically to the target's distribution."""

    def change(self, unit: np.ndarray) -> np.ndarray:
        from skimage.exposure import match_histograms

        quantiles = np.asarray(self.model.config.quantiles, dtype=np.float32)
        if quantiles.size < 2:
            problem = "has no quantiles of its target in its config"
            legal = "a model with quantiles"
            raise CaseError(explain("--model", self.model.name, problem, legal))
        return match_histograms(unit.astype(np.float32), quantiles)


METHOD = Method("histogram", Histogram)
