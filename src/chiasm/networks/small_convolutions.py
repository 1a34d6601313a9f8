"""Convolutions of very small inputs in float32, because bfloat16 is wrong there on some CPUs.

This was seen on an AMD EPYC (AVX512-BF16, torch 2.13): part of the gradient of the weights is read
from memory that was never written, so it holds arbitrary numbers and sometimes NaN. With kernels
up to 4 and inputs of 1 to 8 voxels along each axis, inputs of up to 3 voxels were affected and
larger ones were not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Largest number of voxels along the shortest axis of an affected input.
_FEW = 3


def small_convolutions_in_float32(module: nn.Module) -> None:
    """Make all convolutions of a module use float32 for small inputs; weights stay in place."""
    for part in module.modules():
        if type(part) in _EXACT:
            part.__class__ = _EXACT[type(part)]


class _Exact:
    """A convolution that runs without autocast on the CPU if its input is small."""

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
