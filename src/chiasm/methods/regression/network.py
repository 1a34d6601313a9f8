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
    ) -> None:
        super().__init__()
        if guides.needs_sample:
            legal = "guides of the source alone, e.g. lmi with maps ['source']"
            problem = "has no x_t to compare the source with"
            raise UsageError(explain("guides", "regression", problem, legal))
        self.guides = guides
        self.intensity_mapping = intensity_mapping
        channels = guides.channels(images, spatial_dims) + (images if intensity_mapping else 0)
        self.learn_error = learn_error
        self.network = network.build(spatial_dims, channels, 2 if learn_error else 1)

    @property
    def divisible_by(self) -> int:
        """Every spatial size must be a multiple of this."""
        return math.lcm(self.network.divisible_by, self.guides.divisible_by)

    def forward(
        self, source: Tensor, randomised: Tensor | None = None, mapping: Tensor | None = None
    ) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → (B, 1, \\*spatial), about [0, 1].

        With ``learn_error``, a second channel holds the expected absolute error, above 0.
        ``randomised`` is the source under a random contrast, for guides that use it in training.
        ``mapping`` (B or 1, nodes) is the mapping of the image that the guides see; None if it is
        unknown.
        """
        result = self.network(self.channels(source, randomised, mapping), None)
        if not self.learn_error:
            return result
        # The scale of a Laplace distribution is its mean absolute deviation.
        scale = _LEAST_ERROR + functional.softplus(result[:, 1:] + _FIRST_ERROR)
        return torch.cat([result[:, :1], scale], dim=1)

    def channels(
        self, source: Tensor, randomised: Tensor | None = None, mapping: Tensor | None = None
    ) -> Tensor:
        """The network's input, (B, channels, \\*spatial): the guides, then the mapped source."""
        channels = self.guides.prepare(source, randomised)(None, None)
        if self.intensity_mapping:
            seen = source if randomised is None else randomised
            if mapping is None:
                mapping = unknown(seen.new_empty((1, self.intensity_mapping.nodes)))
            mapped = intensity_map(seen, mapping.expand(len(seen), -1))
            channels = torch.cat([channels, mapped * 2 - 1], dim=1)
        return channels
