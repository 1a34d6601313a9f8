"""Convolutions of few voxels in float32, whose gradients bf16 gets wrong on some CPUs.

On CPUs with AVX512-BF16 and no AMX (seen: AMD EPYC, torch 2.13) oneDNN takes part of the gradient
from memory that nothing wrote, where the output has two voxels along its axes: NaN now and then,
numbers of no meaning else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Voxels along the shortest axis of the input up to which it was seen, for kernels up to 4.
_FEW = 3


def small_convolutions_in_float32(module: nn.Module) -> None:
    """Make all convolutions of a module so; its weights stay what they are, and where."""
    for part in module.modules():
        if type(part) in _EXACT:
            part.__class__ = _EXACT[type(part)]


class _Exact:
    """Over a convolution: without autocast on the CPU, if its input is small."""

    def forward(self, x: Tensor) -> Tensor:
        plain: type[nn.Module] = type(self).__bases__[1]
        if x.device.type != "cpu" or min(x.shape[2:]) > _FEW:
            return plain.forward(self, x)  # type: ignore[no-any-return]
        with torch.autocast("cpu", enabled=False):
            return plain.forward(self, x.float())  # type: ignore[no-any-return]


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
