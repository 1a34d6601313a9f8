"""Convolution layers of few voxels in float32, whose gradients bf16 gets wrong on some CPUs.

Seen on an AMD EPYC (AVX512-BF16, torch 2.13): part of the weights' gradient comes from memory that
nothing wrote, NaN now and then and numbers of no meaning else. Of kernels up to 4 on 1 to 8 voxels
along each axis, inputs of 3 voxels and fewer were affected, larger ones were not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Voxels along the input's shortest axis.
_FEW = 3


def small_convolutions_in_float32(module: nn.Module) -> None:
    """Make all convolution layers of a module so; its weights stay what they are, and where."""
    for part in module.modules():
        if type(part) in _EXACT:
            part.__class__ = _EXACT[type(part)]


class _Exact:
    """Over a convolution: without autocast on the CPU, if its input is small."""

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        if x.device.type != "cpu" or min(x.shape[2:]) > _FEW:
            return super().forward(x, *more)  # type: ignore[misc,no-any-return]
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float(), *more)  # type: ignore[misc,no-any-return]


class _Exact2d(_Exact, nn.Conv2d):
    pass


class _Exact3d(_Exact, nn.Conv3d):
    pass


class _ExactTransposed2d(_Exact, nn.ConvTranspose2d):  # type: ignore[misc]
    pass


class _ExactTransposed3d(_Exact, nn.ConvTranspose3d):  # type: ignore[misc]
    pass


_EXACT: dict[type[nn.Module], type[nn.Module]] = {
    kind.__bases__[1]: kind  # type: ignore[misc]
    for kind in (_Exact2d, _Exact3d, _ExactTransposed2d, _ExactTransposed3d)
}
