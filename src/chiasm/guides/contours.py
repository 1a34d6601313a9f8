"""Contours as a guide: the borders of tissues, not their brightness (ContourDiff)."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field, model_validator
from skimage.feature import canny
from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide
from chiasm.guides.slices import by_slice


class ContourGuide(Guide):
    """Canny contours of the slices of the source: 1 on a contour, −1 elsewhere.

    The idea comes from ContourDiff (Chen et al., arXiv 2403.10786). In 3D, contours are found
    slice by slice. With ``randomise``, the default, training uses contours of random contrasts:
    some borders appear and others vanish.

    Parameters
    ----------
    sigma : float
        Standard deviation of the Gaussian blur before the gradient, in voxels.
    low, high : float
        Hysteresis thresholds of the gradient, low ≤ high, as in `skimage.feature.canny` for
        images in [0, 1].
    """

    name: Literal["contours"] = "contours"
    randomise: bool = True
    sigma: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    low: float = Field(default=0.1, ge=0)
    high: float = Field(default=0.2, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> ContourGuide:
        if self.low > self.high:
            raise ValueError("low must be at most high")
        return self

    def channels(self, images: int, spatial_dims: int) -> int:
        return images

    def prepare(self, source: Tensor) -> PreparedGuide:
        find = partial(
            canny,
            sigma=self.sigma,
            low_threshold=self.low,
            high_threshold=self.high,
            mode="nearest",
        )
        contours = by_slice(source.clamp(0, 1), find) * 2 - 1
        return lambda sample, time: contours
