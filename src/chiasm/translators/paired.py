"""One step of a network that learned from pairs of its source and its target."""

from __future__ import annotations

from chiasm.translators.regression import Regression


class Paired(Regression):
    """Runs a `RegressionNetwork` that was trained on pairs: the supervised ceiling."""

    runs = ("paired",)
