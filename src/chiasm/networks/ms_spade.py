"""Multiple switchable SPADE (Kim & Park, WACV 2024): one normaliser for each target modality.

A latent of the source goes in, one like the target's comes out; which target is told for every
sample by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn
from torch.nn import functional

_CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
_SLOPE = 0.2  # of the leaky ReLU, as SPADE has it


class SwitchedConvolution(nn.Module):
    """A bank of convolutions, one for each modality; each sample of a batch goes through its own.

    All samples' kernels side by side are one grouped convolution, so no loop is needed.

    Parameters
    ----------
    spatial_dims, modalities, in_channels, out_channels : int
    kernel_size : int
        Odd.
    """

    def __init__(
        self,
        spatial_dims: int,
        modalities: int,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        kernel = (kernel_size,) * spatial_dims
        self.weight = nn.Parameter(torch.empty(modalities, out_channels, in_channels, *kernel))
        self.bias = nn.Parameter(torch.zeros(modalities, out_channels))
        for one in self.weight:  # as torch initialises a convolution
            nn.init.kaiming_uniform_(one, a=math.sqrt(5))

    def forward(self, x: Tensor, which: Tensor) -> Tensor:
        """(B, in_channels, \\*spatial), modalities (B,) → (B, out_channels, \\*spatial)."""
        weight, bias = self.weight[which], self.bias[which]
        if len(x) == 1:
            return self._convolve(x, weight[0], bias[0], 1)
        made = self._convolve(x.flatten(0, 1)[None], weight.flatten(0, 1), bias.flatten(), len(x))
        return made[0].unflatten(0, (len(x), -1))

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
        convolve, padding = _CONVOLVE[x.ndim - 2], weight.shape[-1] // 2
        return convolve(x, weight, bias, padding=padding, groups=groups)


class MSSPADE(nn.Module):
    """Normalise, then scale and shift voxel by voxel by what a map says (Park et al., CVPR 2019).

    y = norm(x) · (1 + γ) + β, where γ and β are convolutions of the map, those of the sample's
    modality.

    Parameters
    ----------
    spatial_dims, modalities, channels, map_channels, hidden : int
        ``hidden`` channels lie between the map and γ, β.
    """

    def __init__(
        self, spatial_dims: int, modalities: int, channels: int, map_channels: int, hidden: int
    ) -> None:
        super().__init__()
        self.norm = get_norm_layer("instance", spatial_dims=spatial_dims, channels=channels)
        bank = (spatial_dims, modalities)
        self.shared = SwitchedConvolution(*bank, map_channels, hidden)
        self.modulation = SwitchedConvolution(*bank, hidden, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor, which: Tensor) -> Tensor:
        """(B, channels, \\*spatial), its map, its modality (B,) → x's shape."""
        hidden = functional.leaky_relu(self.shared(condition, which), _SLOPE)
        scale, shift = self.modulation(hidden, which).chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class SPADEBlock(nn.Module):
    """SPADE residual block: normalise, activate, convolve, twice; the way past normalises too."""

    def __init__(
        self,
        spatial_dims: int,
        modalities: int,
        channels: tuple[int, int],
        map_channels: int,
        hidden: int,
    ) -> None:
        super().__init__()
        before, after = channels
        middle = min(before, after)
        convolution = nn.Conv3d if spatial_dims == 3 else nn.Conv2d

        def norm(width: int) -> MSSPADE:
            return MSSPADE(spatial_dims, modalities, width, map_channels, hidden)

        self.norms = nn.ModuleList([norm(before), norm(middle)])
        self.convolutions = nn.ModuleList(
            [convolution(before, middle, 3, padding=1), convolution(middle, after, 3, padding=1)]
        )
        self.past_norm = norm(before)
        self.past = convolution(before, after, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor, which: Tensor) -> Tensor:
        past = self.past(self.past_norm(x, condition, which))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = convolution(functional.leaky_relu(norm(x, condition, which), _SLOPE))
        return past + x


class LatentTranslator(nn.Module):
    """SPADE residual blocks from latent to latent; the source's latent is the map of all.

    Parameters
    ----------
    spatial_dims, modalities, latent : int
        ``latent`` channels go in and come out.
    features : sequence of int
        Channels between the blocks, one fewer than there are blocks.
    hidden : int
        See `MSSPADE`.
    """

    def __init__(
        self,
        spatial_dims: int,
        modalities: int,
        latent: int,
        *,
        features: Sequence[int] = (128, 256, 128),
        hidden: int = 64,
    ) -> None:
        super().__init__()
        if min(*features, hidden, modalities) < 1:
            raise ValueError("features and hidden are counts of at least 1")
        self.modalities = modalities
        widths = (latent, *features, latent)
        self.blocks = nn.ModuleList(
            SPADEBlock(spatial_dims, modalities, pair, latent, hidden) for pair in pairwise(widths)
        )

    def forward(self, z: Tensor, which: Tensor, source: Sequence[int] = ()) -> Tensor:
        """(B, latent, \\*spatial), target modality (B,) → a latent like that target's.

        It is not told the ``source`` modality.
        """
        x = z
        for block in self.blocks:
            x = block(x, z, which)
        return x

    def every(self, z: Tensor, source: Sequence[int] = ()) -> Tensor:
        """Latents like those of all targets: (B, modalities, latent, \\*spatial)."""
        which = torch.arange(self.modalities, device=z.device).repeat(len(z))
        made = self.forward(z.repeat_interleave(self.modalities, dim=0), which)
        return made.unflatten(0, (len(z), self.modalities))
