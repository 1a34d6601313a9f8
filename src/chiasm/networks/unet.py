"""Two U-Nets of MONAI with the same interface: ``forward(x, t)`` and ``divisible_by``."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import BasicUNet, DiffusionModelUNet
from torch import Tensor, nn

# With channels last in memory, a training step on the CPU takes a quarter less time.
MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


class _OneStep(nn.Module):
    """BasicUNet: five levels of convolutions only; it ignores t."""

    divisible_by = 16

    def __init__(self, network: BasicUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        return self.network(x)


class _Timed(nn.Module):
    """DiffusionModelUNet: residual blocks conditioned on t, and on a label if it accepts one."""

    def __init__(self, network: DiffusionModelUNet, levels: int) -> None:
        super().__init__()
        self.network = network
        self.divisible_by = 2 ** (levels - 1)

    def forward(self, x: Tensor, t: Tensor | None, label: Tensor | None = None) -> Tensor:
        if t is None:
            raise ValueError("diffusion-unet needs a time for every sample; t is None")
        return self.network(x, t, class_labels=label)


def unet(spatial_dims: int, in_channels: int, out_channels: int, **arguments: Any) -> nn.Module:
    """`monai.networks.nets.BasicUNet`, for one-step translation and segmentation."""
    network = BasicUNet(spatial_dims, in_channels, out_channels, **arguments)
    # torch documents this argument, but its type hints do not include it.
    network = network.to(memory_format=MEMORY_FORMATS[spatial_dims])  # type: ignore[call-overload]
    return _OneStep(network)


def diffusion_unet(
    spatial_dims: int, in_channels: int, out_channels: int, **arguments: Any
) -> nn.Module:
    """`monai.networks.nets.DiffusionModelUNet`, for denoising."""
    network = DiffusionModelUNet(spatial_dims, in_channels, out_channels, **arguments)
    return _Timed(network, len(network.block_out_channels))
