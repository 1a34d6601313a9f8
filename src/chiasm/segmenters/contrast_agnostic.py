"""A segmenter of any contrast, trained on random contrasts."""

from __future__ import annotations

import torch
from torch import Tensor

from chiasm.augment.contrast import ContrastSettings
from chiasm.segmenters.objective import SegmenterObjective, Settings
from chiasm.training.batch import Batch


class AnyContrastSettings(Settings):
    """Settings of the training of a segmenter of any modality."""

    contrast: ContrastSettings = ContrastSettings()


class ContrastAgnosticObjective(SegmenterObjective):
    """Dice and cross-entropy loss on images of the target under random contrast.

    This applies the idea of SynthSeg (Billot et al., Medical Image Analysis 86:102789, 2023) to an
    image instead of a label map. The trained segmenter labels a scan of any modality without a
    translation.
    """

    any_contrast = True
    settings_class = AnyContrastSettings

    def seen(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.randomised(batch, generator).image
