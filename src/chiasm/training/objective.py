"""The interface of a training method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from chiasm.augment.contrast import (
    ContrastSettings,
    Randomised,
    randomise_contrast,
    randomise_structures,
)
from chiasm.image.volume import Label
from chiasm.training.batch import Batch
from chiasm.training.data import Samples
from chiasm.training.module import TrainingModule
from chiasm.training.settings import ContrastTraining, TrainingSettings


class Objective(ABC):
    """The training of one method.

    Attributes
    ----------
    kind : {"translator", "segmenter"}
        The kind of model that the training makes.
    method : str
        The registered method or segmenter that runs the finished model.
    settings_class : type
        The settings of this training, with their defaults.
    with_labels : bool
        Whether label maps are read.
    with_source : {"none", "unpaired", "paired", "any"}
        Whether images of the sources are read. Unpaired images can be of other subjects, and
        paired images are of the same subjects. With "any", each modality is translated to each
        other one.
    any_contrast : bool
        Whether the segmenter is trained for every modality.
    stages : dict
        For a method that is trained in stages, the objectives by name, in order. The last one is
        the method's own.
    shared_settings : tuple of str
        For a method that trains in stages: the settings of its own that must be the same in all.
    trained : str
        For a stage, the part of the module that it trains.
    first_samples : int
        The least number of samples that `begin` needs.
    neighbours : bool
        Whether samples can hold neighbouring slices.
    runner : type
        The Lightning module that trains the objective.
    samples_class : type
        The class that holds the samples in memory.
    """

    kind: ClassVar[Literal["translator", "segmenter"]]
    method: ClassVar[str]
    settings_class: ClassVar[type[TrainingSettings]] = TrainingSettings
    with_labels: ClassVar[bool] = False
    any_contrast: ClassVar[bool] = False
    with_source: ClassVar[Literal["none", "unpaired", "paired", "any"]] = "none"
    stages: ClassVar[dict[str, type[Objective]]] = {}
    shared_settings: ClassVar[tuple[str, ...]] = ()
    trained: ClassVar[str] = ""
    first_samples: ClassVar[int] = 1
    neighbours: ClassVar[bool] = True
    runner: ClassVar[type[TrainingModule]] = TrainingModule
    samples_class: ClassVar[type[Samples]] = Samples

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        self.settings = settings
        self.module = module

    @property
    def contrast(self) -> ContrastSettings:
        """Settings of the random changes of contrast and quality of the images."""
        assert isinstance(self.settings, ContrastTraining)  # only such methods use it
        return self.settings.contrast

    @classmethod
    def applies(cls, settings: TrainingSettings) -> bool:
        """Whether a stage has anything to train with these settings."""
        return True

    def kept_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings that the finished model keeps, completed by what the training found."""
        return settings

    @classmethod
    def structures(
        cls, settings: TrainingSettings, found: Sequence[Label]
    ) -> tuple[list[Label], dict[int, int]]:
        """The structures that a segmenter learns, given all structures of the label maps.

        Returns
        -------
        labels : list of Label
            The structures in the order of the network's channels.
        channels : dict
            Label value → the network's channel.
        """
        return list(found), {one.value: index for index, one in enumerate(found)}

    def begin(self, batch: Batch) -> None:  # noqa: B027
        """Called once before the first iteration, with training images without augmentation."""

    def survey(self, samples: Samples, device: torch.device) -> None:  # noqa: B027
        """Called after `begin` with all training samples, for computations that are done once."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The scalar to be minimised. All random numbers come from ``generator`` (on the CPU)."""

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar that measures the error of the module, without a gradient."""
        return self.loss(batch, generator)

    def weigh(self, error: Tensor, mask: Tensor) -> Tensor:
        """Mean error; foreground voxels have weight 1, others ``settings.background_weight``."""
        weight = torch.where(mask, 1.0, self.settings.background_weight)
        return (error * weight).sum() / weight.expand_as(error).sum()

    def randomised(self, batch: Batch, generator: torch.Generator) -> Randomised:
        """The batch under random contrast, from its structures where they are known."""
        if batch.structures is not None and batch.places is not None:
            return randomise_structures(
                batch.image,
                batch.mask,
                batch.population,
                batch.structures,
                batch.places,
                self.contrast,
                generator,
            )
        return randomise_contrast(
            batch.image, batch.mask, batch.population, self.contrast, generator
        )


class GuidedObjective(Objective):
    """The training of a method whose network is conditioned on guides."""

    def kept_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        # The record holds all settings of the guides and their networks.
        return settings | {"guides": self.module.guides.record()}
