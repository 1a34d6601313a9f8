"""The network of regression, from the guides of a source to the target image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from chiasm.augment.contrast import intensity_map
from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet
from chiasm.methods.regression.intensity_mapping import IntensityMappingSettings, unknown
from chiasm.networks import NetworkSettings

# The expected error is above the first number; it is about 0.07 before the training.
_LEAST_ERROR, _FIRST_ERROR = 2e-3, -2.6


class RegressionNetwork(nn.Module):
    """Makes the target image from the guides of a source, in one step.

    Parameters
    ----------
    network : NetworkSettings
    guides : GuideSet
        Guides of the source alone, which do not need x_t.
    intensity_mapping : IntensityMappingSettings or None
        With it, the network also sees the source mapped through an intensity mapping
        (`chiasm.methods.regression.intensity_mapping`), one channel for each of its slices.
    spatial_dims, images : int
        As in `chiasm.image.context.Context`.
    learn_error : bool
        Whether the network also gives the absolute error that it expects at each voxel.
    error_network : NetworkSettings or None
        A second network, which gives the expected error instead. It sees the input of the first
        network and all that the first network gives.
    error_scale : float
        What the expected error is multiplied by in use, see `forward`.

    Raises
    ------
    UsageError
        A guide needs x_t.
    """

    def __init__(
        self,
        network: NetworkSettings,
        guides: GuideSet,
        intensity_mapping: IntensityMappingSettings | None = None,
        *,
        spatial_dims: int,
        images: int,
        learn_error: bool = False,
        error_network: NetworkSettings | None = None,
        error_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if guides.needs_sample:
            legal = "guides of the source alone, e.g. lmi with maps ['source']"
            problem = "has no x_t to compare the source with"
            raise UsageError(explain("guides", "regression", problem, legal))
        self.guides = guides
        self.intensity_mapping = intensity_mapping
        channels = guides.channels(images, spatial_dims) + (images if intensity_mapping else 0)
        self.learn_error, self.error_scale = learn_error, error_scale
        made = 2 if learn_error else 1
        self.network = network.build(spatial_dims, channels, made)
        self.error_network: nn.Module | None = None
        if error_network is not None:
            self.error_network = error_network.build(
                spatial_dims, channels + made, 1, "error_network"
            )

    @property
    def gives_error(self) -> bool:
        """Whether the expected error is the second channel."""
        return self.learn_error or self.error_network is not None

    @property
    def divisible_by(self) -> int:
        """Every spatial size must be a multiple of this."""
        networks = filter(None, (self.network, self.error_network))
        return math.lcm(self.guides.divisible_by, *(one.divisible_by for one in networks))

    def forward(
        self, source: Tensor, randomised: Tensor | None = None, mapping: Tensor | None = None
    ) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → (B, 1, \\*spatial), about [0, 1].

        With ``learn_error`` or an error network, a second channel holds the expected absolute
        error, above 0. ``randomised`` is the source under a random contrast, for guides that use
        it in training. ``mapping`` (B or 1, nodes) is the mapping of the image that the guides
        see; None if it is unknown.
        """
        channels = self.channels(source, randomised, mapping)
        made = self.estimate(channels)
        if self.error_network is not None:
            made = self.expected(channels, made)
        if self.error_scale == 1 or not self.gives_error:
            return made
        return torch.cat([made[:, :1], made[:, 1:] * self.error_scale], dim=1)

    def estimate(self, channels: Tensor) -> Tensor:
        """What the first network alone makes of its input: (B, 1 or 2, \\*spatial)."""
        result = self.network(channels, None)
        if not self.learn_error:
            return result
        return torch.cat([result[:, :1], _scale(result[:, 1:])], dim=1)

    def channels(
        self, source: Tensor, randomised: Tensor | None = None, mapping: Tensor | None = None
    ) -> Tensor:
        """The network's input, (B, channels, \\*spatial): the guides, then the mapped source."""
        channels = self.guides.prepare(source, randomised)(None, None)
        if self.intensity_mapping:
            seen = source if randomised is None else randomised
            if mapping is None:
                mapping = unknown(seen.new_empty((1, self.intensity_mapping.nodes)))
            mapped = intensity_map(seen, mapping.expand(seen.shape[0], -1))
            channels = torch.cat([channels, mapped * 2 - 1], dim=1)
        return channels

    def expected(self, channels: Tensor, made: Tensor) -> Tensor:
        """The image of `estimate` and the expected error of the error network, two channels."""
        assert self.error_network is not None
        seen = torch.cat([channels, made.detach()], dim=1)
        return torch.cat([made[:, :1], _scale(self.error_network(seen, None))], dim=1)


def _scale(output: Tensor) -> Tensor:
    """The expected absolute error, above 0: the scale of a Laplace distribution."""
    return _LEAST_ERROR + functional.softplus(output + _FIRST_ERROR)
