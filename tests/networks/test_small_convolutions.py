"""Gradients of bf16 convolutions down to one voxel are those of float32."""

import copy

import pytest
import torch
from torch import nn

from chiasm.networks.small_convolutions import small_convolutions_in_float32


def gradient(layer, image, dtype=None):
    """Of the sum of squares of what comes out, by the weights; memory is littered before."""
    layer.zero_grad()
    for size in (layer.weight.numel(), 2 * layer.weight.numel(), 4096):
        torch.full((size,), float("nan"))
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        out = layer(image)
    out.float().square().sum().backward()
    return layer.weight.grad.clone()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 8, 3, padding=1),
        nn.Conv2d(16, 8, 3, padding=1, stride=2),
        nn.Conv3d(32, 32, 3, padding=1),
        nn.Conv3d(32, 1, 4, padding=2),
        nn.Conv3d(32, 8, 3, padding=1, stride=2),
        nn.ConvTranspose3d(16, 16, 2, stride=2),
        nn.ConvTranspose2d(16, 16, 2, stride=2),
    ],
    ids=lambda layer: f"{type(layer).__name__}-{layer.kernel_size[0]}-{layer.stride[0]}",
)
def test_gradient_is_that_of_float32(layer, size):
    torch.manual_seed(0)
    dims = layer.weight.ndim - 2
    image = torch.randn(2, layer.in_channels, *(size,) * dims)
    small_convolutions_in_float32(nn.Sequential(layer))
    exact = gradient(layer, image)
    for _ in range(20):
        found = gradient(layer, image, torch.bfloat16)
        assert (found - exact).norm() < 0.02 * exact.norm()


def test_large_inputs_keep_the_precision_asked_for():
    layer = nn.Conv2d(4, 4, 3, padding=1)
    small_convolutions_in_float32(nn.Sequential(layer))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 4, 8, 8)).dtype is torch.bfloat16
        assert layer(torch.randn(1, 4, 3, 8)).dtype is torch.float32


def test_copies_have_weights_of_their_own():
    network = nn.Sequential(nn.Conv3d(2, 2, 1))
    small_convolutions_in_float32(network)
    other = copy.deepcopy(network)
    nn.init.zeros_(other[0].weight)
    nn.init.zeros_(other[0].bias)
    image = torch.ones(1, 2, 1, 1, 1)
    assert not other(image).any()
    assert network(image).any()
    assert list(network.state_dict()) == ["0.weight", "0.bias"]
