"""Local mutual information as a guide (Wang et al., arXiv 2404.01102)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from chiasm.guides.base import Guide, PreparedGuide
from chiasm.lmi import prepare
from chiasm.lmi.settings import LMISettings


class LMIGuide(Guide):
    """Maps of local mutual information: of the source with x_t, and of the source with itself.

    Parameters
    ----------
    maps : tuple of {"sample", "source"}
        What the source is compared with. ``"sample"`` is recomputed at every evaluation;
        ``"source"`` once.
    patch_size, search_size, bins, bandwidth, variant
        As in `chiasm.local_mutual_information`.
    """

    name: Literal["lmi"] = "lmi"
    maps: tuple[Literal["sample", "source"], ...] = ("sample", "source")
    patch_size: int = 3
    search_size: int = 3
    bins: int = 27
    bandwidth: float = 8 / 255
    variant: Literal["corrected", "published"] = "corrected"

    @model_validator(mode="after")
    def _legal(self) -> LMIGuide:
        if not self.maps or len(set(self.maps)) != len(self.maps):
            raise ValueError("maps must name 'sample', 'source' or both, each once")
        LMISettings(**self._operator())
        return self

    def _operator(self) -> dict[str, Any]:
        return self.model_dump(exclude={"name", "randomise", "maps"})

    @property
    def needs_sample(self) -> bool:  # type: ignore[override]
        return "sample" in self.maps

    def channels(self, images: int, spatial_dims: int) -> int:
        return images * len(self.maps)

    def prepare(self, source: Tensor) -> PreparedGuide:
        batch, images, *spatial = source.shape
        flat = source.reshape(batch * images, 1, *spatial)
        score = prepare(flat, **self._operator())
        known = {"source": score(flat)} if "source" in self.maps else {}

        def guide(sample: Tensor | None, time: Tensor | None) -> Tensor:
            maps = dict(known)
            if self.needs_sample:
                if sample is None:
                    raise ValueError("this guide compares the source with x_t, which is None")
                maps["sample"] = score(sample.repeat_interleave(images, dim=0).float())
            shaped = [maps[what].reshape(batch, images, *spatial) for what in self.maps]
            return torch.cat(shaped, dim=1).to(source.dtype) * 2 - 1

        return guide
