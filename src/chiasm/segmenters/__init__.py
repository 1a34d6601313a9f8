"""Segmenters make a label map from a volume."""

from chiasm.segmenters.base import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter"]
