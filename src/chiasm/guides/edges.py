"""Edges as a guide: gradients of the denoised source (FGDM)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from skimage.filters import sobel
from skimage.restoration import denoise_bilateral
from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide
from chiasm.guides.slices import by_slice


class EdgeGuide(Guide):
    """The edges of the bilaterally filtered source, 2 m²/(m² + threshold²) − 1.

    m is the Sobel magnitude. The value is −1 without an edge, 0 at the threshold, and near 1 for
    strong edges of any height. This is a soft form of the threshold of FGDM (Li et al., arXiv
    2304.02742). In 3D, edges are found slice by slice. With ``randomise``, the default, training
    uses edges of random contrasts.

    Parameters
    ----------
    sigma_intensity : float
        Intensity width of the bilateral filter, which keeps larger differences.
    sigma_distance : float
        Spatial width of the bilateral filter, in voxels.
    threshold : float
        Threshold of the Sobel magnitude as in `skimage.filters.sobel`, where a step of height h
        has a magnitude of h/√2 beside it.
    """

    name: Literal["edges"] = "edges"
    randomise: bool = True
    sigma_intensity: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    sigma_distance: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    threshold: float = Field(default=0.05, gt=0, allow_inf_nan=False)

    def channels(self, images: int, spatial_dims: int) -> int:
        return images

    def prepare(self, source: Tensor) -> PreparedGuide:
        edges = by_slice(source.clamp(0, 1), self._edges)
        return lambda sample, time: edges

    def _edges(self, image: np.ndarray) -> np.ndarray:
        filtered = denoise_bilateral(
            image,
            sigma_color=self.sigma_intensity,
            sigma_spatial=self.sigma_distance,
            mode="edge",
        )
        power = sobel(filtered, mode="nearest") ** 2
        return 2 * power / (power + self.threshold**2) - 1
