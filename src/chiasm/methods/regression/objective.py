"""The training of regression of the target from guides of the target itself."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from chiasm.errors import UsageError, explain
from chiasm.methods.detail_transfer import DetailTransferSettings
from chiasm.methods.regression.intensity_mapping import (
    IntensityMappingSettings,
    disturb,
    measured_mapping,
)
from chiasm.phantom.appearance import BRAIN
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
    learn_error : bool
        Whether the network also learns the absolute error that it makes at each voxel. It is the
        scale of a Laplace distribution, trained by its likelihood (Kendall & Gal, NeurIPS 2017).
    error_weight : float
        Weight of that likelihood in the loss. It changes the features of the network, but not
        directly the image, whose own loss stays the absolute error.
    head_weight : float
        Weight of the voxels of the head outside the brain, where that is known.
    window : list of int or None
        Size in voxels of the boxes in which the finished model translates a volume, in 3D. It
        should be that of the training boxes, because networks normalise over a box. With None, the
        complete volume is one box.
    """

    network: dict[str, Any] = NETWORK
    guides: list[dict[str, Any]] = [{"name": "source", "randomise": True}]
    intensity_mapping: IntensityMappingSettings | None = Field(
        default_factory=IntensityMappingSettings
    )
    detail_transfer: DetailTransferSettings | None = Field(default_factory=DetailTransferSettings)
    learn_error: bool = False
    error_weight: float = Field(default=0.1, ge=0)
    head_weight: float = Field(default=0.3, ge=0)
    window: list[PositiveInt] | None = None

    def check(self) -> None:
        super().check()
        dims = self.context.spatial_dims
        if self.window is not None and len(self.window) != dims:
            problem = f"has {len(self.window)} numbers, and the context {self.context.kind} needs"
            legal = f"{dims} numbers of voxels, or null"
            raise UsageError(explain("window", self.window, f"{problem} {dims}", legal))


class RegressionObjective(GuidedObjective):
    """Mean absolute error between the network's output and the target image."""

    kind = "translator"
    method = "regression"
    settings_class = Settings
    settings: Settings

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        window = settings.window
        if window is not None and any(size % module.divisible_by for size in window):
            legal = f"multiples of {module.divisible_by}, as the network needs"
            raise UsageError(explain("window", window, "does not fit the network", legal))

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        seen, mapping = None, None
        if self.module.guides.randomised:
            seen, population = self.randomised(batch, generator)
            if chosen := self.module.intensity_mapping:
                true = measured_mapping(population, batch.population, chosen.nodes)
                mapping = disturb(true, chosen, generator)
        predicted = self.module(batch.image, seen, mapping)
        predicted = predicted.float()
        error = (predicted[:, :1] - batch.centre).abs()
        if self.settings.learn_error:
            scale = predicted[:, 1:]
            likelihood = error.detach() / scale + scale.log()
            error = error + self.settings.error_weight * likelihood
        return self._weighed(error, batch)

    def _weighed(self, error: Tensor, batch: Batch) -> Tensor:
        """Mean error, with weights for the brain, the rest of the head and the air."""
        if batch.structures is None:
            return self.weigh(error, batch.centre_mask)
        brain = torch.from_numpy(BRAIN).to(error.device)[batch.centre_structures.long()]
        weight = torch.where(brain, 1.0, self.settings.head_weight)
        weight = torch.where(batch.centre_mask, weight, self.settings.background_weight)
        # A batch can hold only air, which may have no weight.
        return (error * weight).sum() / weight.sum().clamp(min=1e-6)
