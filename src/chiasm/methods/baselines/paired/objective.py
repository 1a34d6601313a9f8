"""Supervised regression of the target from another modality of the same subject."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from chiasm.augment.contrast import ContrastSettings, degrade
from chiasm.methods.detail_transfer import DetailTransferSettings
from chiasm.methods.regression.objective import NETWORK
from chiasm.training.batch import Batch
from chiasm.training.objective import GuidedObjective
from chiasm.training.settings import ContrastTraining, GuidedTraining


class Settings(GuidedTraining, ContrastTraining):
    """Settings of the training on pairs.

    Parameters
    ----------
    detail_transfer : DetailTransferSettings or None
        With None, detail transfer is off unless it is switched on for a run.
    """

    network: dict[str, Any] = NETWORK
    guides: list[dict[str, Any]] = [{"name": "source", "randomise": False}]
    contrast: ContrastSettings = ContrastSettings(gamma=0.1, bias=0.1, blur=0.3, noise=0.02)
    detail_transfer: DetailTransferSettings | None = None


class PairedObjective(GuidedObjective):
    """Mean absolute error between the network's output and the target image.

    The network is that of `RegressionObjective`. Its input is a real image of a source modality,
    slightly degraded as augmentation, with its own contrast.
    """

    kind = "translator"
    method = "paired"
    with_source = "paired"
    settings_class = Settings
    settings: Settings

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        assert batch.source is not None  # with_source says so
        assert batch.source_mask is not None
        source = degrade(batch.source, batch.source_mask, self.contrast, generator)
        error = (self.module(source).float() - batch.centre).abs()
        return self.weigh(error, batch.centre_mask)
