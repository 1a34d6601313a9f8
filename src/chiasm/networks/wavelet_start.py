"""Weights with which MONAI's VQ-VAE begins as a Haar wavelet transform, not as noise.

From random weights an autoencoder spends most of a short training on what any orthogonal transform
does at once: a block of 2 × 2 (× 2) voxels is as many averages and differences. Here each level is
that transform at first, and as many coefficients are kept as there are channels, averages first; a
ReLU lets half of a signal through, so each is held twice, as itself and negated. Residual units
begin as the identity (Zhang et al., Fixup, ICLR 2019). All of it is trained from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from monai.networks.nets.vqvae import VQVAE, VQVAEResidualUnit
from torch import Tensor, nn

# Of a kernel of 4 with stride 2: the taps on the block itself.
_BLOCK = slice(1, 3)


def haar(dims: int) -> Tensor:
    """The orthonormal filters of a block of 2 voxels an axis, (2^dims, 2, …), averages first."""
    average, difference = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([1.0, -1.0]) / 2**0.5
    filters = []
    for kinds in sorted(product((0, 1), repeat=dims), key=sum):
        one = torch.ones(())
        for kind in kinds:
            one = one[..., None] * (difference if kind else average)
        filters.append(one)
    return torch.stack(filters)


@torch.no_grad()
def begin_as_wavelets(network: VQVAE, channels: Sequence[int]) -> None:
    """Set the weights of a network whose levels have these channels, each a stride of 2.

    At least 2 each, to hold one signal twice; and as many channels come out as go in.
    """
    for unit in network.modules():
        if isinstance(unit, VQVAEResidualUnit):
            for weight in unit.conv2.parameters():
                nn.init.zeros_(weight)
    filters = haar(network.spatial_dims)
    down = _convolutions(network.encoder)
    up = _convolutions(network.decoder)
    signals, count, levels = network.in_channels, len(filters), []
    for width in channels:
        kept = min(width // 2, signals * count)
        # All of the first signal, the average, then of the next: the first matter most.
        levels.append({(k, k // count): filters[k % count] for k in range(kept)})
        signals = kept
    for level, links in enumerate(levels):  # an image has signs of its own
        _link(down[level], links, twice_in=level > 0, twice_out=True, taps=_BLOCK)
    there = range(min(signals, network.embedding_dim))
    last = {(k, k): torch.ones(()) for k in there}
    _link(down[-1], last, twice_in=True, twice_out=False, taps=slice(1, 2))
    _link(up[0], last, twice_in=False, twice_out=True, taps=slice(1, 2))
    # Back from what is there; what is not keeps its random weights, for 0 would never learn.
    for level in reversed(range(len(levels))):
        links = {(b, a): one for (a, b), one in levels[level].items() if a in there}
        _link(up[-1 - level], links, twice_in=True, twice_out=level > 0, taps=_BLOCK)
        there = range(max(b for b, _ in links) + 1)


def _convolutions(part: Any) -> list[Any]:
    """Those between the levels, in order."""
    return [one.conv for one in part.blocks if not isinstance(one, VQVAEResidualUnit)]


def _link(
    convolution: Any,
    links: dict[tuple[int, int], Tensor],
    *,
    twice_in: bool,
    twice_out: bool,
    taps: slice,
) -> None:
    """Make signals ``(out, in)`` of a convolution these filters of each other and of no others."""
    weight = convolution.weight
    if convolution.transposed:  # (in, out, …)
        weight = weight.transpose(0, 1)
    made = {_place(out, sign, twice_out) for out, _ in links for sign in _signs(twice_out)}
    for row in made:
        weight[row] = 0
        convolution.bias[row] = 0
    for (out, seen), one in links.items():
        for a, b in product(_signs(twice_out), _signs(twice_in)):
            tap = weight[_place(out, a, twice_out), _place(seen, b, twice_in)]
            tap[(taps,) * tap.ndim] = a * b * one


def _signs(twice: bool) -> tuple[int, ...]:
    return (1, -1) if twice else (1,)


def _place(signal: int, sign: int, twice: bool) -> int:
    """The channel that holds a signal, or its negative."""
    return 2 * signal + (sign < 0) if twice else signal
