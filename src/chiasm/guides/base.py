"""The contract of a guide, and several guides as one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from chiasm.context import Context
from chiasm.errors import UsageError, explain
from chiasm.preparation import GridSettings
from chiasm.registry import GUIDES

# (sample x_t as an image (B, 1, *spatial), time t (B,)) -> guide (B, channels, *spatial)
PreparedGuide = Callable[[Tensor | None, Tensor | None], Tensor]


class Guide(BaseModel, ABC):
    """A guide: settings, and how to prepare it for one batch of source images.

    A guide knows a source and x_t, nothing else. Its values lie in [−1, 1]; where a guide is
    dropped, the network sees 0.

    Parameters
    ----------
    randomise : bool
        In training, compute the guide from the target under a random contrast
        (`chiasm.guides.randomise`) instead of from the target as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    randomise: bool = False
    # False where the guide needs no x_t, so that a one-step network can use it too.
    needs_sample: ClassVar[bool] = False
    # True where the guide's one channel is itself an estimate of the target, on [−1, 1].
    estimates_target: ClassVar[bool] = False

    @property
    def network(self) -> nn.Module | None:
        """The guide's own network, whose weights a model keeps with its own; most have none."""
        return None

    def check(self, grid: GridSettings, context: Context) -> None:
        """Refuse (`UsageError`) a model's lattice that the guide does not know; most know any."""

    def record(self) -> dict[str, Any]:
        """The guide as a model's config keeps it."""
        return self.model_dump(mode="json")

    @abstractmethod
    def channels(self, images: int, spatial_dims: int) -> int:
        """Channels of the guide for sources of ``images`` channels (slices of 2.5D context)."""

    @abstractmethod
    def prepare(self, source: Tensor) -> PreparedGuide:
        """Compute what depends on the source alone.

        Parameters
        ----------
        source : Tensor, shape (B, images, \\*spatial)
            In [0, 1], background 0.

        Returns
        -------
        callable
            Of (x_t, t): x_t as an image of shape (B, 1, \\*spatial) that may leave [0, 1], or
            None where there is no sample; called at every network evaluation.
        """


def guide_from_config(config: dict[str, Any]) -> Guide:
    """The guide that ``{"name": ..., settings}`` describes; illegal settings → `UsageError`."""
    kind = GUIDES.load(str(config.get("name")), "guide")
    try:
        return kind(**config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("guide", config["name"], *first["loc"])))
        legal = ", ".join(kind.model_fields)
        raise UsageError(explain(where, first.get("input"), first["msg"], legal)) from None


class GuideSet(nn.Module):
    """Several guides, their channels in order; their networks, if any, are frozen.

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
        """Stays in evaluation mode: training must not move a frozen network's norms either."""
        return super().train(False)

    @property
    def divisible_by(self) -> int:
        """What every spatial size must be a multiple of."""
        return math.lcm(*(one.divisible_by for one in self.networks))  # type: ignore[arg-type]

    def channels(self, images: int, spatial_dims: int) -> int:
        """Channels of all guides together."""
        return sum(guide.channels(images, spatial_dims) for guide in self.guides)

    @property
    def needs_sample(self) -> bool:
        """Whether any guide needs x_t."""
        return any(guide.needs_sample for guide in self.guides)

    def estimate_channel(self, images: int, spatial_dims: int) -> int | None:
        """Which channel is an estimate of the target; None where no guide makes one."""
        first = 0
        for guide in self.guides:
            if guide.estimates_target:
                return first
            first += guide.channels(images, spatial_dims)
        return None

    def record(self) -> list[dict[str, Any]]:
        """The guides as a model's config keeps them."""
        return [guide.record() for guide in self.guides]

    @property
    def randomised(self) -> bool:
        """Whether any guide is trained under randomised contrast."""
        return any(guide.randomise for guide in self.guides)

    def prepare(self, source: Tensor, randomised: Tensor | None = None) -> PreparedGuide:
        """Prepare every guide: from ``randomised`` if given and the guide asks for it."""
        prepared = [
            guide.prepare(randomised if guide.randomise and randomised is not None else source)
            for guide in self.guides
        ]

        def guide(sample: Tensor | None, time: Tensor | None) -> Tensor:
            return torch.cat([one(sample, time) for one in prepared], dim=1)

        return guide
