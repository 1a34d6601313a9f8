"""The training of a segmenter of one modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor

from chiasm.augment.contrast import ContrastSettings, degrade
from chiasm.errors import UsageError, explain
from chiasm.image.volume import Label
from chiasm.training.batch import Batch
from chiasm.training.objective import Objective
from chiasm.training.settings import ContrastTraining, PlanesTraining, TrainingSettings


class Settings(ContrastTraining, PlanesTraining):
    """Settings of the training of a segmenter.

    Parameters
    ----------
    merge_labels : dict
        Label value → the value that it is merged into. An empty mapping keeps all labels of all
        subjects.
    fill_holes : bool
        Whether holes are filled, see `chiasm.image.preparation.restore_labels`. This suits labels
        that cover the whole foreground, such as tissues of the brain.
    """

    network: dict[str, Any] = {
        "name": "unet",
        "arguments": {"features": [16, 32, 64, 128, 128, 16], "norm": "batch"},
    }
    contrast: ContrastSettings = ContrastSettings(gamma=0.15, bias=0.2, blur=0.7, noise=0.05)
    merge_labels: dict[int, int] = {}
    fill_holes: bool = False


class SegmenterObjective(Objective):
    """Dice and cross-entropy loss on degraded images of the target modality.

    The images get bias, noise, blur and mild gamma, but never another contrast.
    """

    kind = "segmenter"
    method = "network"
    with_labels = True
    settings_class = Settings
    settings: Settings

    @classmethod
    def structures(
        cls, settings: TrainingSettings, found: Sequence[Label]
    ) -> tuple[list[Label], dict[int, int]]:
        assert isinstance(settings, Settings)
        merge = settings.merge_labels
        labels = [one for one in found if one.value not in merge]
        channels = {one.value: index for index, one in enumerate(labels)}
        for value, meant in merge.items():
            if meant not in channels:
                known = ", ".join(f"{one.value} ({one.name})" for one in labels)
                problem = f"would be merged into {meant}, which no label map holds"
                raise UsageError(explain("merge_labels", value, problem, known))
            channels[value] = channels[meant]
        return labels, channels

    def __init__(self, settings: Settings, module: Any) -> None:
        super().__init__(settings, module)
        self.score = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)

    def seen(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The network's input, (B, channels, \\*spatial) in [0, 1]."""
        return degrade(
            batch.image, batch.mask, self.contrast, generator, population=batch.population
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.score(self.module(self.seen(batch, generator)).float(), batch.labels)
