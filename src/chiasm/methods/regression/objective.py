"""The training of regression of the target from guides of the target itself."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from chiasm.augment.contrast import Acquisition, ContrastSettings
from chiasm.errors import UsageError, explain
from chiasm.methods.detail_transfer import DetailTransferSettings
from chiasm.methods.regression.intensity_mapping import (
    IntensityMappingSettings,
    disturb,
    measured_mapping,
)
from chiasm.networks import NetworkSettings
from chiasm.phantom.appearance import BRAIN, CANONICAL
from chiasm.training.batch import Batch
from chiasm.training.objective import GuidedObjective
from chiasm.training.segmenter_loss import SegmenterLoss, SegmenterLossSettings, segmenter_of
from chiasm.training.settings import ContrastTraining, GuidedTraining, TrainingSettings

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

# The percentiles of a scan that lie on 0 and 1 (`chiasm.image.intensity`), as shares.
_RANGE = (0.005, 0.995)


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
    error_network : NetworkSettings or None
        With it, a second network learns the expected error after the first one has learned the
        image (stage ``error``, see `ErrorObjective`).
    error_scale : float
        What the finished model multiplies the expected error by. It is learned on slices of one
        plane and on simulated scans, and the mean of several planes has a smaller error.
    acquisition : ContrastSettings or None
        In the stage ``error``, how the target scan is acquired whose difference from the image is
        learned: bias, gamma, blur, noise and slice thickness. With None, it is exact.
    misplaced : float
        In the stage ``error``, the largest shift of that scan along each axis, in voxels. Real
        scans of two modalities are registered to a part of a voxel.
    head_weight : float
        Weight of the voxels of the head outside the brain, where that is known.
    segmenter_loss : SegmenterLossSettings or None
        With it, the loss also compares what a frozen segmenter makes of the translation and of the
        real image (`chiasm.training.segmenter_loss`).
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
    error_network: NetworkSettings | None = None
    error_scale: float = Field(default=1.0, gt=0)
    acquisition: ContrastSettings | None = None
    misplaced: float = Field(default=0.0, ge=0)
    head_weight: float = Field(default=0.3, ge=0)
    segmenter_loss: SegmenterLossSettings | None = None
    window: list[PositiveInt] | None = None

    def check(self) -> None:
        super().check()
        dims = self.context.spatial_dims
        if self.window is not None and len(self.window) != dims:
            problem = f"has {len(self.window)} numbers, and the context {self.context.kind} needs"
            legal = f"{dims} numbers of voxels, or null"
            raise UsageError(explain("window", self.window, f"{problem} {dims}", legal))
        if self.segmenter_loss is not None:
            segmenter_of(self.segmenter_loss, self)
        for name in ("acquisition", "misplaced"):
            if self.error_network is None and (value := getattr(self, name)):
                problem = "changes nothing, because there is no error_network"
                raise UsageError(explain(name, value, problem, "an error_network, or no value"))


def shifted(images: Tensor, shifts: Tensor) -> Tensor:
    """Images (B, C, \\*spatial) moved by parts of voxels (B, axes); borders are repeated."""
    dims = images.ndim - 2
    matrix = torch.eye(dims, dims + 1, dtype=images.dtype, device=images.device)
    matrix = matrix.repeat(len(images), 1, 1)
    # `affine_grid` counts from −1 to 1 between the centres of the first and the last voxel, and
    # names the last axis first.
    sizes = torch.tensor(images.shape[2:], dtype=images.dtype, device=images.device)
    matrix[:, :, -1] = (-2 * shifts / (sizes - 1).clamp(min=1)).flip(1)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=True)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=True)


def laplace(error: Tensor, scale: Tensor) -> Tensor:
    """The negative logarithm of the likelihood of an absolute error, but for a constant."""
    return error / scale + scale.log()


class RegressionObjective(GuidedObjective):
    """Mean absolute error between the network's output and the target image."""

    kind = "translator"
    method = "regression"
    settings_class = Settings
    settings: Settings
    trained = "network"
    shared_settings = ("learn_error", "error_network")

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        if getattr(module, "error_network", None) is not None:
            module.error_network.requires_grad_(False)
        self.segmenter_loss: SegmenterLoss | None = None
        if settings.segmenter_loss is not None:
            self.segmenter_loss = SegmenterLoss(settings.segmenter_loss, settings)
        window = settings.window
        if window is not None and any(size % module.divisible_by for size in window):
            legal = f"multiples of {module.divisible_by}, as the network needs"
            raise UsageError(explain("window", window, "does not fit the network", legal))

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        predicted = self.module.estimate(self.channels(batch, generator)).float()
        error = (predicted[:, :1] - batch.centre).abs()
        if self.settings.learn_error:
            likelihood = laplace(error.detach(), predicted[:, 1:])
            error = error + self.settings.error_weight * likelihood
        loss = self.weighed(error, batch)
        if self.segmenter_loss is not None:
            loss = loss + self.segmenter_loss.weight * self.segmenter_loss(predicted[:, :1], batch)
        return loss

    def channels(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The network's input: the guides of the images under random contrast."""
        seen, mapping = None, None
        if self.module.guides.randomised:
            seen, population = self.randomised(batch, generator)
            if chosen := self.module.intensity_mapping:
                true = measured_mapping(population, batch.population, chosen.nodes)
                mapping = disturb(true, chosen, generator)
        channels: Tensor = self.module.channels(batch.image, seen, mapping)
        return channels

    def weighed(self, error: Tensor, batch: Batch) -> Tensor:
        """Mean error, with weights for the brain, the rest of the head and the air."""
        if batch.structures is None:
            return self.weigh(error, batch.centre_mask)
        brain = torch.from_numpy(BRAIN).to(error.device)[batch.centre_structures.long()]
        weight = torch.where(brain, 1.0, self.settings.head_weight)
        weight = torch.where(batch.centre_mask, weight, self.settings.background_weight)
        # A batch can hold only air, which may have no weight.
        return (error * weight).sum() / weight.sum().clamp(min=1e-6)


class ErrorObjective(RegressionObjective):
    """The last stage trains the error network on the errors of the finished image.

    The expected error is the scale of a Laplace distribution, trained by its likelihood (Kendall &
    Gal, NeurIPS 2017). With ``anatomies.varied`` in this stage, the error is the difference from a
    random scan of the target modality, which has a contrast of its own, as a real scan has.
    """

    trained = "error_network"

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        module.requires_grad_(False)
        module.error_network.requires_grad_(True)

    @classmethod
    def applies(cls, settings: TrainingSettings) -> bool:
        assert isinstance(settings, Settings)
        return settings.error_network is not None

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        self.module.network.eval()  # its statistics belong to the finished image
        channels = self.channels(batch, generator)
        predicted = self.module.expected(channels, self.module.estimate(channels)).float()
        true = self._acquired(self._on_the_scale_of_the_model(batch), generator)
        error = (predicted[:, :1] - true).abs()
        return self.weighed(laplace(error, predicted[:, 1:]), batch)

    def _acquired(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """Target images as scans of their own show them, (B, 1, \\*spatial)."""
        chosen = self.settings
        if chosen.misplaced:
            shifts = torch.rand((len(target), target.ndim - 2), generator=generator) * 2 - 1
            target = shifted(target, shifts.to(target) * chosen.misplaced)
        if chosen.acquisition is not None:
            target = Acquisition(tuple(target.shape), chosen.acquisition, generator).image(target)
        return target.clamp(0, 1)

    def _on_the_scale_of_the_model(self, batch: Batch) -> Tensor:
        """The target images, (B, 1, \\*spatial).

        Images of varied contrast lie on [0, 1] by their own percentiles. The model's images all
        have the same contrast, and those percentiles of them are not 0 and 1.
        """
        heads = self.settings.anatomies
        if heads is None or not heads.varied:
            return batch.centre
        assert batch.places is not None  # heads from label maps have them
        contrast = torch.from_numpy(CANONICAL[self.settings.target]()).to(batch.image.device)
        ends = torch.tensor(_RANGE, device=batch.image.device)
        low, high = contrast[batch.places.long()].quantile(ends, dim=1)
        shape = (-1, *[1] * (batch.centre.ndim - 1))
        return low.view(shape) + (high - low).view(shape) * batch.centre


RegressionObjective.stages = {"image": RegressionObjective, "error": ErrorObjective}
