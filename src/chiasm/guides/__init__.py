"""Guides: the images a network is conditioned on, computed from the source and from x_t."""

from chiasm.guides.base import Guide, GuideSet, PreparedGuide, guide_from_config

__all__ = ["Guide", "GuideSet", "PreparedGuide", "guide_from_config"]
