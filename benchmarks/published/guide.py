"""A guide of local mutual information as it was published, for comparison with the guide `lmi`.

It is selected by ``CHIASM_PLUGINS=benchmarks/published/guide.py chiasm train …
'guides=[{name: lmi-published}]'``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor

from chiasm.errors import UsageError, explain
from chiasm.guides.base import Guide, PreparedGuide
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.registry import GUIDES

BENCHMARKS = str(Path(__file__).resolve().parents[1])
if BENCHMARKS not in sys.path:
    sys.path.append(BENCHMARKS)
from published.lmi import prepare  # noqa: E402


class PublishedLMIGuide(Guide):
    """Maps of the published layer: of the source with x_t, and of the source with itself.

    Parameters
    ----------
    maps : tuple of {"sample", "source"}
        What the source is compared with. ``"sample"`` is computed again at every evaluation,
        ``"source"`` once.
    bins, bandwidth
        As in `chiasm.lmi.LMISettings`.
    """

    name: Literal["lmi-published"] = "lmi-published"
    maps: tuple[Literal["sample", "source"], ...] = ("sample", "source")
    bins: int = 27
    bandwidth: float = 8 / 255

    @field_validator("maps")
    @classmethod
    def _each_once(cls, maps: tuple[str, ...]) -> tuple[str, ...]:
        if not maps or len(set(maps)) != len(maps):
            raise ValueError("maps must name 'sample', 'source' or both, each once")
        return maps

    @property
    def needs_sample(self) -> bool:  # type: ignore[override]
        return "sample" in self.maps

    def check(self, grid: GridSettings, context: Context) -> None:
        if context.spatial_dims != 2:
            problem = "shows volumes, and the published layer knows slices alone"
            raise UsageError(explain("context.kind", context.kind, problem, "2d, 2.5d"))

    def channels(self, images: int, spatial_dims: int) -> int:
        return images * len(self.maps)

    def prepare(self, source: Tensor) -> PreparedGuide:
        batch, images, *spatial = source.shape
        flat = source.reshape(batch * images, 1, *spatial)
        score = prepare(flat, bins=self.bins, bandwidth=self.bandwidth)

        def compare(other: Tensor) -> Tensor:
            return score(other).reshape(batch, images, *spatial)

        known = {"source": compare(flat)} if "source" in self.maps else {}

        def guide(sample: Tensor | None, time: Tensor | None) -> Tensor:
            maps = dict(known)
            if self.needs_sample:
                if sample is None:
                    raise ValueError("this guide compares the source with x_t, which is None")
                maps["sample"] = compare(sample.repeat_interleave(images, dim=0))
            return torch.cat([maps[what] for what in self.maps], dim=1).to(source.dtype) * 2 - 1

        return guide


GUIDES.add(
    "lmi-published",
    "published.guide:PublishedLMIGuide",
    "Local mutual information by the published layer, with its defects.",
)
