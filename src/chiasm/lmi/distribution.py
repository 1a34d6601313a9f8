"""The map of an image by its own distribution, for bins that hold equal shares of the foreground.

The rank of a voxel among those of the foreground does not change if all intensities are changed by
a strictly rising function, and is reversed by a strictly falling one. Every engine is given images
that were mapped here, so that equally spaced bins on [0, 1] hold equal shares of the foreground.
The slow definition is `chiasm.lmi.definition.ranks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Number of ranks between which the map is linear. Their distance is an eighth of the default
# bandwidth. Images with at most this many foreground voxels are mapped by their exact ranks.
NODES = 256


def not_background(images: Tensor) -> Tensor:
    """The foreground of images whose mask is not known.

    The background of an image is its smallest value, if several voxels have it.

    Parameters
    ----------
    images : Tensor, shape (B, \\*spatial)

    Returns
    -------
    bool Tensor, shape (B, \\*spatial)
        Empty for a constant image of several voxels.
    """
    values = images.flatten(1)
    lowest = values == values.amin(1, keepdim=True)
    shared = lowest.sum(1, keepdim=True) > 1
    return ~(lowest & shared).view_as(images)


def _finite(values: Tensor) -> Tensor:
    """Values without infinity, whose differences are finite too."""
    limit = torch.finfo(values.dtype).max / 4
    return values.clamp(-limit, limit)


@dataclass(frozen=True)
class Distribution:
    """The distribution function of each image of a batch, linear between some of its values.

    Attributes
    ----------
    nodes : Tensor, shape (B, K)
        Rising intensities of voxels of the foreground, at evenly spaced ranks; infinite if there
        is no foreground.
    levels : Tensor, shape (B, K)
        Rank of each node among the voxels of the foreground, from 0 to 1. Equal voxels share the
        mean of their ranks, so a constant foreground has the level ½.
    """

    nodes: Tensor
    levels: Tensor

    @classmethod
    def of(cls, images: Tensor, foreground: Tensor, nodes: int = NODES) -> Distribution:
        """The distributions of the foregrounds of images.

        Parameters
        ----------
        images : Tensor, shape (B, \\*spatial)
            Floating point intensities without NaN. They are read without a gradient.
        foreground : bool Tensor, shape (B, \\*spatial)
            It may be empty.
        nodes : int
            Number of nodes K, at least 2.
        """
        inside = foreground.flatten(1)
        values = _finite(images.detach().flatten(1)).masked_fill(~inside, torch.inf)
        ordered = values.sort(1).values
        count = inside.sum(1, keepdim=True)
        last = (count - 1).clamp(min=0)
        steps = torch.arange(nodes, device=images.device)
        # The nearest whole ranks, in integers, because float32 cannot count large volumes.
        found = ordered.gather(1, (2 * steps * last + nodes - 1) // (2 * (nodes - 1)))
        below, upto = (torch.searchsorted(ordered, found, right=after) for after in (False, True))
        levels = (below + upto - 1).to(images.dtype) / (2 * last.clamp(min=1))
        return cls(found, torch.where(count > 1, levels, 0.5))

    def __call__(self, images: Tensor) -> Tensor:
        """Map images by these distributions.

        Values below the foreground's smallest value become 0, and those above its largest 1. If
        there is no foreground, all become 0.

        The result is differentiable in ``images`` with the nodes held fixed. The derivative is then
        exact almost everywhere: it is the slope between two nodes, and 0 beyond the foreground's
        values. It says how a score changes if one voxel moves within the distribution. It is not
        the derivative of the ranks themselves, which is 0 almost everywhere, because a small
        change of one voxel alters no rank.

        Parameters
        ----------
        images : Tensor, shape (B, \\*spatial)
            Floating point intensities without NaN, in the unit and type of the nodes.

        Returns
        -------
        Tensor, shape (B, \\*spatial)
            In [0, 1].
        """
        values = _finite(images.flatten(1))
        last = self.nodes.shape[1] - 2
        at = torch.searchsorted(self.nodes, values.detach().contiguous(), right=True)
        left = (at - 1).clamp(0, last)
        low, high = self.nodes.gather(1, left), self.nodes.gather(1, left + 1)
        # Between equal nodes there is nothing to interpolate, and nothing to divide by.
        rising = high - low > torch.finfo(values.dtype).tiny
        width = torch.where(rising, high - low, 1)
        share = torch.where(rising, values - low, 0) / width
        start, end = self.levels.gather(1, left), self.levels.gather(1, left + 1)
        mapped = start + (end - start) * share.clamp(0, 1)
        mapped = torch.where(values < self.nodes[:, :1], 0, mapped)
        mapped = torch.where(values > self.nodes[:, -1:], 1, mapped)
        return mapped.clamp(0, 1).view(images.shape)


def by_own_distribution(images: Tensor, foreground: Tensor) -> Tensor:
    """Map every image by the distribution of its foreground, see `Distribution`."""
    return Distribution.of(images, foreground)(images)
