"""A segmenter of any contrast: it only ever sees contrasts that are drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from chiasm.training.data import Batch
from chiasm.training.segmenter import SegmenterObjective


class ContrastAgnosticObjective(SegmenterObjective):
    """Dice + cross-entropy on images of the target under random contrast.

    The idea of SynthSeg (Billot et al., Medical Image Analysis 86:102789, 2023), applied to an
    image in place of a label map. At use it segments a scan of any modality, untranslated.
    """

    any_contrast = True
    defaults = {"network": SegmenterObjective.defaults["network"]}  # noqa: RUF012

    def seen(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.randomised(batch, generator).image
