"""Supervised regression: the target from another modality of the same subject."""

from __future__ import annotations

import torch
from torch import Tensor

from chiasm.guides.randomise import degrade
from chiasm.training.data import Batch
from chiasm.training.objective import Objective
from chiasm.training.regression import RegressionObjective


class PairedObjective(Objective):
    """L1 between the network's one step from the source and the target: the supervised ceiling.

    The network of `RegressionObjective`; its source is a real image of a source modality, lightly
    degraded as augmentation, never under another contrast.
    """

    kind = "translator"
    method = "paired"
    with_source = "paired"
    defaults = {  # noqa: RUF012
        "network": RegressionObjective.defaults["network"],
        "guides": [{"name": "source", "randomise": False}],
        "contrast": {"gamma": 0.1, "bias": 0.1, "blur": 0.3, "noise": 0.02},
    }

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        assert batch.source is not None  # with_source says so
        assert batch.source_mask is not None
        source = degrade(batch.source, batch.source_mask, self.contrast, generator)
        error = (self.module(source).float() - batch.centre).abs()
        return self.weigh(error, batch.centre_mask)
