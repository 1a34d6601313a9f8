"""The interface of a guide, and a set of guides."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from chiasm.errors import UsageError, explain, illegal_setting
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.registry import GUIDES

# (sample x_t as an image (B, 1, *spatial), time t (B,)) -> guide (B, channels, *spatial)
PreparedGuide = Callable[[Tensor | None, Tensor | None], Tensor]


class Guide(BaseModel, ABC):
    """The settings of a guide, and how it is computed for a batch of source images.

    A guide is computed from the source and x_t only. Its values lie in [−1, 1]. If a guide is
    dropped, the network sees 0.

    Parameters
    ----------
    randomise : bool
        Whether, in training, the guide is computed from the target under a random contrast
        (`chiasm.augment.contrast`) instead of from the unchanged target.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    randomise: bool = False
    # False if the guide does not need x_t, so that a one-step network can use it too.
    needs_sample: ClassVar[bool] = False

    @property
    def network(self) -> nn.Module | None:
        """The guide's own network, or None. A model saves its weights with its own."""
        return None

    def check(self, grid: GridSettings, context: Context) -> None:
        """Refuse (`UsageError`) a lattice that the guide does not support; most support any."""

    def record(self) -> dict[str, Any]:
        """The guide as it is saved in a model's configuration."""
        return self.model_dump(mode="json")

    @abstractmethod
    def channels(self, images: int, spatial_dims: int) -> int:
        """Number of channels of the guide for sources of ``images`` channels (2.5D context)."""

    @abstractmethod
    def prepare(self, source: Tensor) -> PreparedGuide:
        """Compute the part of the guide that depends on the source only.

        Parameters
        ----------
        source : Tensor, shape (B, images, \\*spatial)
            In [0, 1], background 0.

        Returns
        -------
        callable
            A function of (x_t, t) that is called at every network evaluation. x_t is an image of
            shape (B, 1, \\*spatial) that may leave [0, 1], or None if there is no sample.
        """


def guide_from_config(config: dict[str, Any]) -> Guide:
    """The guide that ``{"name": ..., settings}`` describes.

    Raises
    ------
    UsageError
        The name is not known, or a setting is not legal.
    """
    kind = GUIDES.load(str(config.get("name")), "guide")
    try:
        return kind(**config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("guide", config["name"], *first["loc"])))
        raise UsageError(
            explain(where, first.get("input"), *illegal_setting(first, kind))
        ) from None


class GuideSet(nn.Module):
    """Several guides with concatenated channels. Their networks, if any, are frozen.

    Parameters
    ----------
    guides : sequence of Guide
        At least one.
    """

    def __init__(self, guides: Sequence[Guide]) -> None:
        super().__init__()
        if not guides:
            raise UsageError(explain("guides", [], "is empty", "at least one of " + str([*GUIDES])))
        self.guides = tuple(guides)
        networks = [guide.network for guide in guides]
        self.networks = nn.ModuleList(one for one in networks if one is not None)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> GuideSet:
        """Stay in evaluation mode, so that training does not change the frozen networks."""
        return super().train(False)

    @property
    def divisible_by(self) -> int:
        """The number of which every spatial size must be a multiple."""
        return math.lcm(*(one.divisible_by for one in self.networks))  # type: ignore[arg-type]

    def channels(self, images: int, spatial_dims: int) -> int:
        """Number of channels of all guides together."""
        return sum(guide.channels(images, spatial_dims) for guide in self.guides)

    @property
    def needs_sample(self) -> bool:
        """Whether any guide needs x_t."""
        return any(guide.needs_sample for guide in self.guides)

    def record(self) -> list[dict[str, Any]]:
        """The guides as they are saved in a model's configuration."""
        return [guide.record() for guide in self.guides]

    @property
    def randomised(self) -> bool:
        """Whether any guide is trained under randomised contrast."""
        return any(guide.randomise for guide in self.guides)

    def prepare(self, source: Tensor, randomised: Tensor | None = None) -> PreparedGuide:
        """Prepare every guide, from ``randomised`` if it is given and the guide uses it."""
        prepared = [
            guide.prepare(randomised if guide.randomise and randomised is not None else source)
            for guide in self.guides
        ]

        def guide(sample: Tensor | None, time: Tensor | None) -> Tensor:
            return torch.cat([one(sample, time) for one in prepared], dim=1)

        return guide
