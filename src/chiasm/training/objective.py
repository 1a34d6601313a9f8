"""The contract of a training method: which network, and what it is asked to get right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from chiasm.guides.randomise import (
    ContrastSettings,
    Randomised,
    randomise_contrast,
    randomise_some,
)
from chiasm.training.data import Batch, Samples
from chiasm.training.module import TrainingModule
from chiasm.training.settings import TrainingSettings


class Objective(ABC):
    """One training method.

    ``kind`` is what comes of it, ``defaults`` what it sets where the user says nothing,
    ``with_labels`` whether it reads label maps, ``with_source`` whether it reads images of the
    settings' sources, of the same subjects or of others, or goes from any modality to any other;
    ``any_contrast`` whether a segmenter learns to know every modality; ``method`` what runs the
    finished model, ``runner`` the Lightning module that trains it. ``stages``: of a method that
    trains in stages, their objectives by name, in order; the last is the method's own.
    ``trained``: of a stage, the part of the module that it trains; ``first_samples``: how many it
    is begun with at least. ``neighbours``: whether samples may show slices beside their own.
    """

    kind: ClassVar[Literal["translator", "segmenter"]]
    method: ClassVar[str]
    defaults: ClassVar[dict[str, Any]] = {}
    with_labels: ClassVar[bool] = False
    any_contrast: ClassVar[bool] = False
    with_source: ClassVar[Literal["none", "unpaired", "paired", "any"]] = "none"
    stages: ClassVar[dict[str, type[Objective]]] = {}
    trained: ClassVar[str] = ""
    first_samples: ClassVar[int] = 1
    neighbours: ClassVar[bool] = True
    runner: ClassVar[type[TrainingModule]] = TrainingModule

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        self.settings = settings
        self.module = module
        self.contrast = ContrastSettings.model_validate(settings.contrast)

    @classmethod
    def applies(cls, settings: TrainingSettings) -> bool:
        """Whether a stage has anything to train under these settings."""
        return True

    def begin(self, batch: Batch) -> None:  # noqa: B027
        """Called once before the first iteration, with training images as they are read."""

    def survey(self, samples: Samples, device: torch.device) -> None:  # noqa: B027
        """Called after `begin` with all training samples, for what is computed of them once."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar to be minimised; every random draw from ``generator`` (on the CPU)."""

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar that tells how good the module is; no gradient is asked for."""
        return self.loss(batch, generator)

    def weigh(self, error: Tensor, mask: Tensor) -> Tensor:
        """Mean error, voxels of the head with weight 1, the others with the settings' weight."""
        weight = torch.where(mask, 1.0, self.settings.background_weight)
        return (error * weight).sum() / weight.expand_as(error).sum()

    def randomised(self, batch: Batch, generator: torch.Generator) -> Randomised:
        """The batch under random contrast."""
        return randomise_contrast(
            batch.image, batch.mask, batch.population, self.contrast, generator
        )

    def some_randomised(
        self, batch: Batch, generator: torch.Generator, others: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The settings' share of the images under random contrast; the rest, or ``others``.

        And which are: bool, (B,).
        """
        share = self.settings.any_contrast
        image, mask, population = batch.image, batch.mask, batch.population
        return randomise_some(
            image, mask, population, self.contrast, share, generator, others=others
        )
