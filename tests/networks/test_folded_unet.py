"""Folding voxels into channels and back, against torch's own in 2D."""

import pytest
import torch
from torch.nn import functional

from chiasm.networks import NetworkSettings
from chiasm.networks.folded_unet import FoldedUNet, fold, unfold

SIZES = {1: (12,), 2: (12, 6), 3: (6, 12, 18)}
FEATURES = {"features": [4, 4, 4, 4, 4, 4]}


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_in_2d_it_is_torchs_pixel_unshuffle(factor):
    x = torch.rand((2, 3, 12, 6))
    folded = fold(x, factor)
    assert torch.equal(folded, functional.pixel_unshuffle(x, factor))
    assert torch.equal(unfold(folded, factor), functional.pixel_shuffle(folded, factor))


@pytest.mark.parametrize("dims", SIZES)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_unfolding_inverts_folding(dims, factor):
    x = torch.rand((2, 3, *SIZES[dims]))
    folded = fold(x, factor)
    assert folded.shape == (2, 3 * factor**dims, *(n // factor for n in SIZES[dims]))
    assert torch.equal(unfold(folded, factor), x)


def test_a_cube_of_voxels_becomes_the_channels_of_one_voxel():
    x = torch.arange(4 * 4 * 4.0).view(1, 1, 4, 4, 4)
    folded = fold(x, 2)
    for i, j, k in ((0, 0, 0), (1, 0, 1), (1, 1, 1)):
        cube = x[0, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        assert torch.equal(folded[0, :, i, j, k], cube.flatten())


def test_a_channel_stays_together():
    x = torch.stack([torch.zeros((4, 4)), torch.ones((4, 4))])[None]
    assert fold(x, 2)[0, :, 0, 0].tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("dims", [2, 3])
def test_the_network_is_a_unet_between_a_fold_and_an_unfold(dims):
    torch.manual_seed(0)
    network = FoldedUNet(dims, 2, 3, factor=2, **FEATURES).eval()
    assert network.divisible_by == 32
    shape = (*(32,) * (dims - 1), 64)
    x = torch.rand((1, 2, *shape))
    with torch.inference_mode():
        made = network(x)
        expected = unfold(network.network(fold(x, 2)), 2)
    assert made.shape == (1, 3, *shape)
    torch.testing.assert_close(made, expected)


def test_it_is_a_network_by_name():
    settings = NetworkSettings(name="folded-unet", arguments={"factor": 4, **FEATURES})
    network = settings.build(2, 1, 2)
    assert network.divisible_by == 64
    with torch.inference_mode():
        assert network.eval()(torch.rand((1, 1, 64, 128)), None).shape == (1, 2, 64, 128)
