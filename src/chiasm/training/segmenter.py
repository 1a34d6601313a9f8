"""A segmenter of one modality: bias, noise, blur and mild gamma, never another contrast."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor

from chiasm.guides.randomise import degrade
from chiasm.training.data import Batch
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings


class SegmenterObjective(Objective):
    """Dice + cross-entropy on degraded images of the target modality."""

    kind = "segmenter"
    method = "network"
    with_labels = True
    defaults = {  # noqa: RUF012
        "network": {
            "name": "unet",
            "arguments": {"features": [16, 32, 64, 128, 128, 16], "norm": "batch"},
        },
        "contrast": {"gamma": 0.15, "bias": 0.2, "blur": 0.7, "noise": 0.05},
    }

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        self.score = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)

    def seen(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """What the network is shown of a batch: (B, channels, \\*spatial) in [0, 1]."""
        return degrade(batch.image, batch.mask, self.contrast, generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.score(self.module(self.seen(batch, generator)).float(), batch.labels)
