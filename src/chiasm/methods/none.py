"""No translation, the baseline of every comparison."""

from __future__ import annotations

import numpy as np

from chiasm.methods.base import IntensityTranslator
from chiasm.methods.method import Method


class Untranslated(IntensityTranslator):
    """Maps the source's intensity range linearly to the target's and changes nothing else."""

    def change(self, unit: np.ndarray) -> np.ndarray:
        return unit


METHOD = Method("none", Untranslated)
