"""Histogram matching: the classical baseline."""

from __future__ import annotations

import numpy as np
from skimage.exposure import match_histograms

from chiasm.errors import CaseError, explain
from chiasm.translators.base import IntensityTranslator


class Histogram(IntensityTranslator):
    """Intensities of the head mapped monotonically to the distribution of the target's."""

    def change(self, unit: np.ndarray) -> np.ndarray:
        quantiles = np.asarray(self.model.config.quantiles, dtype=np.float32)
        if quantiles.size < 2:
            problem = "records no quantiles of its target"
            raise CaseError(explain("--model", self.model.name, problem, "a model that does"))
        return match_histograms(unit.astype(np.float32), quantiles)
