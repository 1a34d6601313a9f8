"""What a network is conditioned on: computed from the source once, and from x_t every time."""

from chiasm.guides.base import Guide, GuideSet, PreparedGuide, guide_from_config

__all__ = ["Guide", "GuideSet", "PreparedGuide", "guide_from_config"]
