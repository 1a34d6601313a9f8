"""The simplest guide: the source image itself."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide


class SourceGuide(Guide):
    """The source, [0, 1] → [−1, 1]; one channel for each of its slices.

    Useful only with randomised contrast: the network must not learn one contrast by heart.
    """

    name: Literal["source"] = "source"
    randomise: bool = True

    def channels(self, images: int, spatial_dims: int) -> int:
        return images

    def prepare(self, source: Tensor) -> PreparedGuide:
        scaled = source.clamp(0, 1) * 2 - 1
        return lambda sample, time: scaled
