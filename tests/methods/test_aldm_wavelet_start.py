"""An untrained VQ-GAN is a wavelet transform: what it keeps comes back unchanged."""

import pytest
import torch

from chiasm.methods.aldm.vqgan import VQGAN
from chiasm.methods.aldm.wavelet_start import haar


def network(dims, channels, latent):
    torch.manual_seed(0)
    return VQGAN(dims, 1, 1, channels=channels, residual_layers=2, codes=8, latent=latent)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_filters_are_orthonormal(dims):
    filters = haar(dims).flatten(1)
    torch.testing.assert_close(filters @ filters.T, torch.eye(2**dims))


@pytest.mark.parametrize(
    ("dims", "channels", "latent"), [(2, [8], 4), (3, [16], 8), (2, [8, 32], 16), (3, [20], 9)]
)
def test_all_coefficients_are_lossless(dims, channels, latent):
    image = torch.rand(2, 1, *(8,) * dims, generator=torch.Generator().manual_seed(1)) * 2 - 1
    own = network(dims, channels, latent)
    torch.testing.assert_close(own.decode(own.encode(image)), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("channels", "latent"), [([32], 1), ([2], 4), ([8, 8], 1)])
def test_the_first_is_the_average_of_blocks(channels, latent):
    """With one channel, or too narrow a level for more, it is all that comes back."""
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    own = network(2, channels, latent)
    factor = own.factor
    blocks = torch.nn.functional.avg_pool2d(image, factor)
    torch.testing.assert_close(own.encode(image)[:, :1], blocks * factor, atol=1e-5, rtol=0)
    if latent == 1:
        back = own.decode(own.encode(image))
        want = torch.nn.functional.interpolate(blocks, scale_factor=factor)
        torch.testing.assert_close(back, want, atol=1e-5, rtol=0)


def test_of_two_levels_the_coarse_differences_are_kept_first():
    """Four of the sixteen coefficients of a block of 4 × 4: its 2 × 2 averages."""
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    own = network(2, [8, 32], 4)
    want = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(image, 2), scale_factor=2)
    torch.testing.assert_close(own.decode(own.encode(image)), want, atol=1e-5, rtol=0)


def test_a_level_too_narrow_stays_random():
    own = network(2, [1], 1)
    assert own.network.encoder.blocks[0].conv.weight.count_nonzero() == 16


def test_every_weight_can_still_be_trained():
    own = network(2, [16], 4)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    for _ in range(2):  # the second convolutions of residual units are 0 at first
        (own.decode(own.encode(image)) - image**2).square().mean().backward()
        with torch.no_grad():
            for one in own.network.parameters():
                if one.grad is not None:
                    one -= 0.05 * one.grad
    parts = [*own.network.encoder.named_parameters(), *own.network.decoder.named_parameters()]
    still = [name for name, one in parts if not one.grad.abs().max() > 0]
    assert not still
