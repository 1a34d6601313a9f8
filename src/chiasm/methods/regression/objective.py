"""The training of regression of the target from guides of the target itself."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from chiasm.methods.detail_transfer import DetailTransferSettings
from chiasm.methods.regression.intensity_mapping import (
    IntensityMappingSettings,
    disturb,
    measured_mapping,
)
from chiasm.training.batch import Batch
from chiasm.training.objective import GuidedObjective
from chiasm.training.settings import ContrastTraining, GuidedTraining

NETWORK: dict[str, Any] = {
    "name": "unet",
    "arguments": {
        "features": [32, 32, 64, 128, 256, 32],
        # Instance normalisation would remove the brightness of a slice's tissues.
        "norm": "batch",
        # Deconvolution leaves a checkerboard on contrasts that were not in the training.
        "upsample": "nontrainable",
    },
}


class Settings(GuidedTraining, ContrastTraining):
    """Settings of the training of regression.

    Parameters
    ----------
    intensity_mapping : IntensityMappingSettings or None
        With None, the network learns no intensity mapping and has no refinement iterations.
    detail_transfer : DetailTransferSettings or None
        With None, detail transfer is off unless it is switched on for a run.
    """

    network: dict[str, Any] = NETWORK
    guides: list[dict[str, Any]] = [{"name": "source", "randomise": True}]
    intensity_mapping: IntensityMappingSettings | None = Field(
        default_factory=IntensityMappingSettings
    )
    detail_transfer: DetailTransferSettings | None = Field(default_factory=DetailTransferSettings)


class RegressionObjective(GuidedObjective):
    """Mean absolute error between the network's output and the target image."""

    kind = "translator"
    method = "regression"
    settings_class = Settings
    settings: Settings

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        seen, mapping = None, None
        if self.module.guides.randomised:
            seen, population = self.randomised(batch, generator)
            if chosen := self.module.intensity_mapping:
                true = measured_mapping(population, batch.population, chosen.nodes)
                mapping = disturb(true, chosen, generator)
        predicted = self.module(batch.image, seen, mapping)
        return self.weigh((predicted.float() - batch.centre).abs(), batch.centre_mask)
