"""Multiple switchable SPADE (Kim & Park, WACV 2024) has one normalisation for each target modality.

The network translates a source's latent to a latent of the target. Each sample of a batch has its
own target.
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
_SLOPE = 0.2  # negative slope of the leaky ReLU, as in SPADE


class SwitchedConvolution(nn.Module):
    """A bank of convolutions, one for each modality. Each sample uses the one of its target.

    The kernels of all samples form one grouped convolution, so no loop is needed.

    Parameters
    ----------
    spatial_dims, modalities, in_channels, out_channels : int
    kernel_size : int
        An odd number.
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

    def forward(self, x: Tensor, target_index: Tensor) -> Tensor:
        """(B, in_channels, \\*spatial), target indices (B,) → (B, out_channels, \\*spatial)."""
        weight, bias = self.weight[target_index], self.bias[target_index]
        if len(x) == 1:
            return self._convolve(x, weight[0], bias[0], 1)
        made = self._convolve(x.flatten(0, 1)[None], weight.flatten(0, 1), bias.flatten(), len(x))
        return made[0].unflatten(0, (len(x), -1))

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
        convolve, padding = _CONVOLVE[x.ndim - 2], weight.shape[-1] // 2
        return convolve(x, weight, bias, padding=padding, groups=groups)


class MSSPADE(nn.Module):
    """Normalisation whose scale and shift depend on a map at each voxel (Park et al., CVPR 2019).

    y = norm(x) · (1 + γ) + β, where γ and β are convolutions of the map. Each target modality has
    its own convolutions.

    Parameters
    ----------
    spatial_dims, modalities, channels, map_channels, hidden : int
        ``hidden`` is the number of channels between the map and γ, β.
    """

    def __init__(
        self, spatial_dims: int, modalities: int, channels: int, map_channels: int, hidden: int
    ) -> None:
        super().__init__()
        self.norm = get_norm_layer("instance", spatial_dims=spatial_dims, channels=channels)
        bank = (spatial_dims, modalities)
        self.shared = SwitchedConvolution(*bank, map_channels, hidden)
        self.modulation = SwitchedConvolution(*bank, hidden, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor, target_index: Tensor) -> Tensor:
        """x (B, channels, \\*spatial), the map, target indices (B,) → the shape of x."""
        hidden = functional.leaky_relu(self.shared(condition, target_index), _SLOPE)
        scale, shift = self.modulation(hidden, target_index).chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class SPADEBlock(nn.Module):
    """SPADE residual block: two normalised convolutions and a normalised skip connection."""

    checkpointed = True  # see `chiasm.networks.checkpointing`

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

    def forward(self, x: Tensor, condition: Tensor, target_index: Tensor) -> Tensor:
        past = self.past(self.past_norm(x, condition, target_index))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = convolution(functional.leaky_relu(norm(x, condition, target_index), _SLOPE))
        return past + x


class LatentTranslator(nn.Module):
    """SPADE residual blocks from latent to latent. The source's latent is the map of all blocks.

    Parameters
    ----------
    spatial_dims, modalities, latent : int
        ``latent`` is the number of channels of the input and of the output.
    features : sequence of int
        Channels between the blocks, one number fewer than there are blocks.
    hidden : int
        See `MSSPADE`.

    Raises
    ------
    ValueError
        A number is less than 1.
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
            raise ValueError("features, hidden and modalities must be at least 1")
        self.modalities = modalities
        widths = (latent, *features, latent)
        self.blocks = nn.ModuleList(
            SPADEBlock(spatial_dims, modalities, pair, latent, hidden) for pair in pairwise(widths)
        )

    def forward(self, z: Tensor, target_index: Tensor, source_index: Sequence[int] = ()) -> Tensor:
        """(B, latent, \\*spatial), target indices (B,) → the estimated latents of the targets.

        ``source_index`` is ignored.
        """
        x = z
        for block in self.blocks:
            x = block(x, z, target_index)
        return x

    def every(self, z: Tensor, source_index: Sequence[int] = ()) -> Tensor:
        """The estimated latents of all targets: (B, modalities, latent, \\*spatial)."""
        target_index = torch.arange(self.modalities, device=z.device).repeat(len(z))
        made = self.forward(z.repeat_interleave(self.modalities, dim=0), target_index)
        return made.unflatten(0, (len(z), self.modalities))
