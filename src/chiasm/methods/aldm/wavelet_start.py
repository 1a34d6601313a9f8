"""First weights that make MONAI's VQ-VAE a Haar wavelet transform.

With random weights, an autoencoder spends most of a short training on learning an orthogonal
transform. Here each level is a Haar transform from the start: it turns a block of 2 × 2 (× 2)
voxels into the same number of averages and differences. The averages come first, and as many
coefficients are kept as the channels allow. A ReLU removes negative values, so each coefficient is
held twice: as it is, and negated. Residual units start as the identity (Zhang et al., Fixup, ICLR
2019). All weights are trained afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from monai.networks.nets.vqvae import VQVAE, VQVAEResidualUnit
from torch import Tensor, nn

# The taps of a kernel of 4 with stride 2 that lie on the block itself.
_BLOCK = slice(1, 3)


def haar(dims: int) -> Tensor:
    """Orthonormal filters of a block of 2 voxels an axis, (2^dims, 2, …), averages first."""
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
    """Set the weights of a network whose levels have these channels and a stride of 2.

    Every level needs at least 2 channels, to hold one coefficient twice. The numbers of input and
    output channels must be equal.
    """
    for unit in network.modules():
        if isinstance(unit, VQVAEResidualUnit):
            for weight in unit.conv2.parameters():
                nn.init.zeros_(weight)
    filters = haar(network.spatial_dims)
    down = _convolutions(network.encoder)
    up = _convolutions(network.decoder)
    coefficients, count, levels = network.in_channels, len(filters), []
    for width in channels:
        kept = min(width // 2, coefficients * count)
        # All filters of the first coefficient, the average, come first: it matters most.
        levels.append({(k, k // count): filters[k % count] for k in range(kept)})
        coefficients = kept
    for level, links in enumerate(levels):  # the image itself is not held twice
        _link(down[level], links, twice_in=level > 0, twice_out=True, taps=_BLOCK)
    there = range(min(coefficients, network.embedding_dim))
    last = {(k, k): torch.ones(()) for k in there}
    _link(down[-1], last, twice_in=True, twice_out=False, taps=slice(1, 2))
    _link(up[0], last, twice_in=False, twice_out=True, taps=slice(1, 2))
    # Coefficients that were dropped keep random weights, because weights of 0 would never learn.
    for level in reversed(range(len(levels))):
        links = {(b, a): one for (a, b), one in levels[level].items() if a in there}
        _link(up[-1 - level], links, twice_in=True, twice_out=level > 0, taps=_BLOCK)
        there = range(max(b for b, _ in links) + 1)


def _convolutions(part: Any) -> list[Any]:
    """The convolutions between the levels, in order."""
    return [one.conv for one in part.blocks if not isinstance(one, VQVAEResidualUnit)]


def _link(
    convolution: Any,
    links: dict[tuple[int, int], Tensor],
    *,
    twice_in: bool,
    twice_out: bool,
    taps: slice,
) -> None:
    """Give a convolution these filters from coefficient to coefficient, by ``(out, in)``."""
    weight = convolution.weight
    if convolution.transposed:  # (in, out, …)
        weight = weight.transpose(0, 1)
    made = {_channel(out, sign, twice_out) for out, _ in links for sign in _signs(twice_out)}
    for row in made:
        weight[row] = 0
        convolution.bias[row] = 0
    for (out, seen), one in links.items():
        for a, b in product(_signs(twice_out), _signs(twice_in)):
            tap = weight[_channel(out, a, twice_out), _channel(seen, b, twice_in)]
            tap[(taps,) * tap.ndim] = a * b * one


def _signs(twice: bool) -> tuple[int, ...]:
    return (1, -1) if twice else (1,)


def _channel(coefficient: int, sign: int, twice: bool) -> int:
    """The channel that holds a coefficient or its negative."""
    return 2 * coefficient + (sign < 0) if twice else coefficient
