"""A U-Net on folded voxels: it reads and writes fine voxels, and computes on coarse ones.

Each cube of 2 × 2 × 2 voxels becomes the channels of one coarse voxel, and the output is unfolded
in the same way. This is the sub-pixel convolution of Shi et al. (CVPR 2016) at both ends. No voxel
is lost, and a volume of 1 mm costs as much time and memory as one of 2 mm.
"""

from __future__ import annotations

from typing import Any

from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from chiasm.networks.unet import MEMORY_FORMATS


def fold(x: Tensor, factor: int) -> Tensor:
    """(B, C, \\*spatial) → (B, C · factor^dims, \\*spatial / factor)."""
    dims = x.ndim - 2
    sizes = [part for n in x.shape[2:] for part in (n // factor, factor)]
    split = x.reshape(*x.shape[:2], *sizes)
    inner = [3 + 2 * k for k in range(dims)]
    outer = [2 + 2 * k for k in range(dims)]
    return split.permute(0, 1, *inner, *outer).flatten(1, 1 + dims)


def unfold(x: Tensor, factor: int) -> Tensor:
    """(B, C · factor^dims, \\*spatial) → (B, C, \\*spatial · factor); it inverts `fold`."""
    dims = x.ndim - 2
    split = x.reshape(x.shape[0], -1, *(factor,) * dims, *x.shape[2:])
    order = [axis for k in range(dims) for axis in (2 + dims + k, 2 + k)]
    sizes = [n * factor for n in x.shape[2:]]
    return split.permute(0, 1, *order).reshape(x.shape[0], split.shape[1], *sizes)


class FoldedUNet(nn.Module):
    """MONAI's BasicUNet between a fold and an unfold.

    Parameters
    ----------
    spatial_dims, in_channels, out_channels : int
    factor : int
        Voxels along each axis of a folded cube.
    \\*\\*arguments
        Arguments of `monai.networks.nets.BasicUNet`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        factor: int = 2,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.factor, self.divisible_by = factor, 16 * factor
        cube = factor**spatial_dims
        self.network = BasicUNet(spatial_dims, in_channels * cube, out_channels * cube, **arguments)
        self.memory_format = MEMORY_FORMATS[spatial_dims]
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """(B, in_channels, \\*spatial) → (B, out_channels, \\*spatial); t is ignored."""
        folded = fold(x, self.factor).contiguous(memory_format=self.memory_format)
        return unfold(self.network(folded), self.factor)


def folded_unet(
    spatial_dims: int, in_channels: int, out_channels: int, **arguments: Any
) -> nn.Module:
    """`FoldedUNet`, for one-step translation and segmentation of fine voxels."""
    return FoldedUNet(spatial_dims, in_channels, out_channels, **arguments)
