"""The translator of regression that was trained on pairs of source and target."""

from __future__ import annotations

from chiasm.methods.regression.translator import Regression


class Paired(Regression):
    """Runs a `RegressionNetwork` that was trained on pairs."""
