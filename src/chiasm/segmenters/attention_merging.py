"""Segments from the self-attention of a diffusion model (DiffSeg; Tian et al., arXiv 2308.12469).

A pixel attends to the pixels of the same object. The attention of one pixel is a distribution over
the image, and pixels whose distributions are alike belong together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import interpolate

from chiasm.diffusion.attention import AttentionMap
from chiasm.errors import UsageError, explain

_LEAST = 1e-12  # a probability of 0 has no logarithm


class MergeSettings(BaseModel):
    """How distributions are merged.

    Parameters
    ----------
    threshold : float
        Distributions whose distance is smaller are merged (τ, in nats).
    anchors : int
        The number of anchors along each axis of the image.
    rounds : int
        The number of rounds. The first merges the anchors with all pixels, and the others merge
        what the round before made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: float = Field(default=1.0, gt=0)
    anchors: int = Field(default=16, ge=1)
    rounds: int = Field(default=3, ge=1)


def aggregated(maps: Sequence[AttentionMap], size: tuple[int, int], sample: int = 0) -> Tensor:
    """The self-attention of several layers as one distribution for each pixel.

    The keys of each map are brought to ``size`` by bilinear interpolation and the queries by
    repetition. The weight of a map is proportional to its own width, so that fine maps count more
    (section 3.2 of the paper).

    Parameters
    ----------
    maps : sequence of AttentionMap
        Self-attention of 2D images.
    size : (int, int)
        Height and width of the result.
    sample : int
        Which sample of the batch.

    Returns
    -------
    Tensor, shape (height · width, height · width)
        Row i is the distribution of pixel i; it sums to 1.

    Raises
    ------
    UsageError
        There is no map of self-attention.
    """
    own = [one for one in maps if not one.cross and len(one.size) == 2]
    if not own:
        legal = "a model with self-attention of 2D images"
        raise UsageError(explain("model", "attention", "is not there", legal))
    total = sum(one.size[1] for one in own)
    height, width = size
    merged: Tensor | float = 0.0
    for one in own:
        rows, columns = one.size
        weights = one.weights[sample].view(rows * columns, 1, rows, columns)
        fine = interpolate(weights, size=size, mode="bilinear", align_corners=False).flatten(1)
        fine = fine / fine.sum(dim=1, keepdim=True)
        i = torch.arange(height) * rows // height
        j = torch.arange(width) * columns // width
        which = (i[:, None] * columns + j[None, :]).flatten().to(fine.device)
        merged = merged + fine[which] * (columns / total)
    assert isinstance(merged, Tensor)
    return merged / merged.sum(dim=1, keepdim=True)


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Half the symmetric Kullback–Leibler divergence of all pairs of distributions, in nats.

    Parameters
    ----------
    first, second : Tensor, shapes (A, N) and (B, N)
        Rows that sum to 1.

    Returns
    -------
    Tensor, shape (A, B)
        (KL(p‖q) + KL(q‖p)) / 2.
    """
    logs = [one.clamp_min(_LEAST).log() for one in (first, second)]
    own = [(one * log).sum(dim=1) for one, log in zip((first, second), logs, strict=True)]
    crossed = first @ logs[1].T + logs[0] @ second.T
    return (own[0][:, None] + own[1][None, :] - crossed).clamp_min(0) / 2


def anchor_rows(size: tuple[int, int], count: int) -> Tensor:
    """The pixels of an even grid of ``count`` × ``count`` anchors, as rows of `aggregated`."""
    axes = [
        torch.unique(((torch.arange(count) + 0.5) * length / count).long().clamp_max(length - 1))
        for length in size
    ]
    return (axes[0][:, None] * size[1] + axes[1][None, :]).flatten()


def merge(attention: Tensor, size: tuple[int, int], settings: MergeSettings) -> Tensor:
    """Iterative merging (algorithm 1 of the paper).

    Parameters
    ----------
    attention : Tensor, shape (N, N)
        As `aggregated` returns it, with N = height · width.
    size : (int, int)
        Height and width.
    settings : MergeSettings

    Returns
    -------
    Tensor, shape (proposals, N)
        Each row is the mean distribution of one segment.
    """
    anchors = attention[anchor_rows(size, settings.anchors)]
    near = (distance(anchors, attention) < settings.threshold).float()
    # An anchor is near to itself, so no row is empty.
    proposals = (near @ attention) / near.sum(dim=1, keepdim=True)
    for _ in range(settings.rounds - 1):
        left, kept = proposals, []
        while len(left):
            alike = distance(left[:1], left)[0] < settings.threshold
            alike[0] = True
            kept.append(left[alike].mean(dim=0))
            left = left[~alike]
        proposals = torch.stack(kept)
    return proposals


def segments(proposals: Tensor, size: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """The segment of every pixel: that whose distribution is largest there.

    Parameters
    ----------
    proposals : Tensor, shape (proposals, height · width)
    size : (int, int)
        Height and width of the proposals.
    shape : (int, int)
        Height and width of the result.

    Returns
    -------
    Tensor, shape ``shape``
        int64, from 0. Numbers without a pixel are left out.
    """
    assert math.prod(size) == proposals.shape[1]
    fine = interpolate(
        proposals.view(-1, 1, *size), size=shape, mode="bilinear", align_corners=False
    )
    _, numbered = torch.unique(fine[:, 0].argmax(dim=0), return_inverse=True)
    return numbered
