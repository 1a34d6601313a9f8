"""Local mutual information as a guide (Wang et al., arXiv 2404.01102)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import AliasChoices, BeforeValidator, Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from chiasm.guides.base import Guide, PreparedGuide
from chiasm.lmi import prepare
from chiasm.lmi.settings import Binning, LMISettings


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


Sizes = Annotated[tuple[PositiveInt, ...], BeforeValidator(_several), Field(min_length=1)]


class LMIGuide(Guide):
    """Maps of local mutual information of the source with x_t, and of the source with itself.

    By default there is one map of each, with the score of the best offset, as in the paper.

    Parameters
    ----------
    maps : tuple of {"sample", "source"}
        What the source is compared with: ``"sample"`` is x_t, compared at every network
        evaluation, and ``"source"`` is the source itself, compared once.
    reduce : {"max", "none"}
        Whether the score of the best offset is the only channel, or each offset has a channel.
    patch_sizes : tuple of int
        There are maps for each patch size. Configurations may also name it ``patch_size``.
    scales : tuple of int
        There are maps for each scale. Both images are averaged over blocks of this many voxels
        along every axis, and the map is interpolated back linearly. Averaging also reduces the
        noise of x_t.
    search_size, bins, bandwidth
        As in `chiasm.local_mutual_information`; at a scale, in voxels of the coarser grid.
    binning : {"uniform", "quantile"}
        As in `chiasm.local_mutual_information`. With ``"quantile"``, the source and x_t are each
        mapped by their own distribution over the voxels in which the source is not background
        (0 in a prepared source). Intensities of x_t outside [0, 1] are then not clamped.
        The distribution is that of each input of the network: a slice, or the volume in 3D. Source
        and x_t show the same slice, so its share of each tissue is the same in both and their
        ranks can be compared. A distribution of the whole volume would be steadier in slices that
        hold a single tissue, but a network of slices sees one slice of x_t at a time, in training
        too. With neighbouring slices (2.5D), x_t is ranked over the foreground of each neighbour.
        The strictly monotonic part of a random contrast (``randomise``) leaves ranks as they are,
        up to the voxels that it clips; what remains of it are reordered tissues, bias and noise.
    """

    name: Literal["lmi"] = "lmi"
    maps: tuple[Literal["sample", "source"], ...] = ("sample", "source")
    reduce: Literal["max", "none"] = "max"
    patch_sizes: Sizes = Field(
        default=(3,), validation_alias=AliasChoices("patch_sizes", "patch_size")
    )
    scales: Sizes = (1,)
    search_size: int = 3
    bins: int = 27
    bandwidth: float = 8 / 255
    binning: Binning = "uniform"

    @model_validator(mode="after")
    def _legal(self) -> LMIGuide:
        if not self.maps or len(set(self.maps)) != len(self.maps):
            raise ValueError("maps must name 'sample', 'source' or both, each once")
        for patch_size in self.patch_sizes:
            LMISettings(patch_size=patch_size, **self._operator())
        return self

    def _operator(self) -> dict[str, Any]:
        return self.model_dump(include={"search_size", "bins", "bandwidth", "binning"})

    @property
    def needs_sample(self) -> bool:  # type: ignore[override]
        return "sample" in self.maps

    def channels(self, images: int, spatial_dims: int) -> int:
        scores = 1 if self.reduce == "max" else self.search_size**spatial_dims
        return images * len(self.maps) * len(self.scales) * len(self.patch_sizes) * scores

    def prepare(self, source: Tensor) -> PreparedGuide:
        batch, images, *spatial = source.shape
        flat = source.reshape(batch * images, 1, *spatial)
        score = self._scorer(flat) if self.needs_sample else None
        known = {}
        if "source" in self.maps:
            # A slice is its own middle image and a neighbour of others, but is scored once.
            each, places = flat.unique(dim=0, return_inverse=True)
            scores = self._scorer(each)(each)[places]
            known["source"] = scores.reshape(batch, -1, *spatial)

        def guide(sample: Tensor | None, time: Tensor | None) -> Tensor:
            maps = dict(known)
            if score is not None:
                if sample is None:
                    raise ValueError("this guide compares the source with x_t, which is None")
                scores = score(sample.repeat_interleave(images, dim=0).float())
                maps["sample"] = scores.reshape(batch, -1, *spatial)
            return torch.cat([maps[what] for what in self.maps], dim=1).to(source.dtype) * 2 - 1

        return guide

    def _scorer(self, source: Tensor) -> Callable[[Tensor], Tensor]:
        """The function (N, 1, \\*spatial) → scores (N, channels of one map, \\*spatial)."""
        prepared = [
            (scale, prepare(_coarser(source, scale), patch_size=patch_size, **self._operator()))
            for scale in self.scales
            for patch_size in self.patch_sizes
        ]

        def scored(other: Tensor) -> Tensor:
            maps = [
                _finer(score(_coarser(other, scale), reduce=self.reduce), scale, source.shape[2:])
                for scale, score in prepared
            ]
            return torch.cat(maps, dim=1)

        return scored


def _coarser(image: Tensor, scale: int) -> Tensor:
    """Means over blocks; the last blocks along each axis may be smaller."""
    if scale == 1:
        return image
    pool = functional.avg_pool2d if image.ndim == 4 else functional.avg_pool3d
    return pool(image, scale, ceil_mode=True)


def _finer(maps: Tensor, scale: int, spatial: torch.Size) -> Tensor:
    """Maps of blocks, interpolated linearly between the blocks' centres to size ``spatial``."""
    if scale == 1:
        return maps
    mode = "bilinear" if maps.ndim == 4 else "trilinear"
    whole = functional.interpolate(maps, scale_factor=scale, mode=mode, align_corners=False)
    return whole[(slice(None), slice(None), *(slice(size) for size in spatial))]
