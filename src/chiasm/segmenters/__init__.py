"""Volume in, label map out."""

from chiasm.segmenters.base import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter"]
