"""The simplest guide: the source image itself."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide


class SourceGuide(Guide):
    """The source, scaled from [0, 1] to [−1, 1], with one channel for each of its slices.

    This guide is only useful with randomised contrast; otherwise the network learns to expect a
    single contrast.
    """

    name: Literal["source"] = "source"
    randomise: bool = True

    def channels(self, images: int, spatial_dims: int) -> int:
        return images

    def prepare(self, source: Tensor) -> PreparedGuide:
        scaled = source.clamp(0, 1) * 2 - 1
        return lambda sample, time: scaled
