"""A loss that compares what a frozen segmenter makes of a translation and of the real image."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from chiasm import models
from chiasm.errors import UsageError, explain
from chiasm.image.intensity import IntensityPolicy
from chiasm.networks.small_convolutions import small_convolutions_in_float32
from chiasm.training.batch import Batch
from chiasm.training.settings import TrainingSettings

_ARGUMENT = "segmenter_loss.model"


class SegmenterLossSettings(BaseModel):
    """Settings of `SegmenterLoss`.

    Parameters
    ----------
    model : str
        A segmenter of the target modality: the name of a shipped model, or a model folder. Its
        weights do not change.
    weight : float
        Weight of this loss beside the absolute error of intensities on [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    weight: float = Field(default=0.05, gt=0)


def segmenter_of(chosen: SegmenterLossSettings, settings: TrainingSettings) -> models.Model:
    """The segmenter of a training; its weights are not read yet.

    Raises
    ------
    UsageError
        The model is no segmenter, labels another modality, works on voxels of another size, or
        sees more slices than the translator.
    """
    model = models.load(chosen.model, kind="segmenter", argument=_ARGUMENT)
    its, own = model.config, settings.context
    faults = {
        f"a segmenter of {settings.target}": (
            its.target != settings.target and not its.any_contrast,
            f"labels {its.target}",
        ),
        f"a segmenter with grid.spacing {list(settings.grid.spacing)}": (
            its.grid.spacing != settings.grid.spacing,
            f"works on voxels of {list(its.grid.spacing)} mm",
        ),
        f"a segmenter with {own.spatial_dims} spatial dimensions": (
            its.context.spatial_dims != own.spatial_dims,
            f"has the context {its.context.kind}",
        ),
        f"a segmenter that sees at most {own.images} slices": (
            its.context.images > own.images,
            f"sees {its.context.images} slices",
        ),
    }
    for legal, (is_wrong, problem) in faults.items():
        if is_wrong:
            raise UsageError(explain(_ARGUMENT, chosen.model, problem, legal))
    return model


class SegmenterLoss:
    """How much the labels of a translation differ from those of the real image.

    It is the Kullback–Leibler divergence from the label probabilities of the real image to those
    of the translation, in nats, averaged over the foreground. It is 0 if both images have the same
    probabilities. The gradient goes through the segmenter, whose weights are frozen. A segmenter
    that sees neighbouring slices is given those of the real image, because a training sample holds
    the translation of its middle slice alone.

    Parameters
    ----------
    chosen : SegmenterLossSettings
    settings : TrainingSettings
        Of the translator that is trained.

    Raises
    ------
    UsageError
        See `segmenter_of`.
    """

    def __init__(self, chosen: SegmenterLossSettings, settings: TrainingSettings) -> None:
        model = segmenter_of(chosen, settings)
        self.weight = chosen.weight
        self.images = model.config.context.images
        self.network = model.module
        small_convolutions_in_float32(self.network)

    def __call__(self, made: Tensor, batch: Batch) -> Tensor:
        """The divergence of a batch, a scalar of at least 0.

        Parameters
        ----------
        made : Tensor, shape (B, 1, \\*spatial)
            The translations, on the scale of ``batch.image``.
        batch : Batch
            The real images.
        """
        network = self.network.to(made.device)
        middle, beside = batch.image.shape[1] // 2, self.images // 2
        real = batch.image[:, middle - beside : middle + beside + 1]
        mixed = real.clone()
        # Outside the foreground a finished translation is background.
        mixed[:, beside : beside + 1] = torch.where(batch.centre_mask, made, batch.centre)
        low, high = self._ends(batch)
        with torch.no_grad():
            true = network((real - low) / (high - low)).float().log_softmax(1)
        found = network((mixed - low) / (high - low)).float().log_softmax(1)
        divergence = functional.kl_div(found, true, reduction="none", log_target=True).sum(1)
        inside = batch.centre_mask[:, 0]
        return (divergence * inside).sum() / inside.sum().clamp(min=1)

    @staticmethod
    def _ends(batch: Batch) -> tuple[Tensor, Tensor]:
        """The intensities that a segmenter maps to 0 and 1, as it does with a complete scan."""
        usual = IntensityPolicy()
        shares = torch.tensor((usual.low, usual.high)).to(batch.population) / 100
        low, high = batch.population.quantile(shares, dim=1)
        shape = (-1, *[1] * (batch.image.ndim - 1))
        return low.view(shape), high.clamp(min=low + 1e-3).view(shape)
