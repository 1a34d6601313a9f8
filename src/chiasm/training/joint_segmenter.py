"""A segmenter that sees a scan beside its translation."""

from __future__ import annotations

import torch
from torch import Tensor

from chiasm.guides.randomise import degrade
from chiasm.training.data import Batch
from chiasm.training.segmenter import SegmenterObjective


class JointSegmenterObjective(SegmenterObjective):
    """Dice + cross-entropy on two images: the target under random contrast, and the target.

    The first stands for the scan, the second for its translation; each is degraded on its own
    (bias, noise, blur, mild gamma), so that either may show what the other lost. Errors that a
    translator makes beyond that are not imitated: the network has not learned to doubt them.
    """

    method = "joint"

    def seen(self, batch: Batch, generator: torch.Generator) -> Tensor:
        source = self.randomised(batch, generator).image
        target = degrade(batch.image, batch.mask, self.contrast, generator)
        return torch.cat([source, target], dim=1)
