"""What a guide is given, and what the network gets of it."""

import numpy as np
import pytest
import torch

from chiasm.errors import UsageError
from chiasm.guides import GuideSet, guide_from_config
from chiasm.lmi import local_mutual_information


def test_lmi_maps_are_the_public_functions():
    guide = guide_from_config({"name": "lmi", "patch_size": 3, "bins": 16})
    source, x_t = torch.rand((2, 1, 12, 10)), torch.randn((2, 1, 12, 10))
    maps = guide.prepare(source)(x_t, torch.tensor([5, 5]))
    assert maps.shape == (2, guide.channels(1, 2), 12, 10)
    for channel, other in enumerate((x_t, source)):
        expected = local_mutual_information(source.numpy(), other.numpy(), bins=16)
        np.testing.assert_allclose(maps[:, channel].numpy(), expected[:, 0] * 2 - 1, atol=1e-6)


def test_neighbouring_slices_are_channels():
    guide = guide_from_config({"name": "lmi", "bins": 16})
    source, x_t = torch.rand((2, 3, 8, 8)), torch.rand((2, 1, 8, 8))
    maps = guide.prepare(source)(x_t, None)
    assert maps.shape == (2, guide.channels(3, 2), 8, 8)
    one = guide.prepare(source[:, 1:2])(x_t, None)
    torch.testing.assert_close(maps[:, 1], one[:, 0])
    torch.testing.assert_close(maps[:, 4], one[:, 1])


def test_a_one_step_guide_needs_no_sample():
    guide = guide_from_config({"name": "lmi", "maps": ["source"], "bins": 16})
    assert not guide.needs_sample
    assert guide.prepare(torch.rand((1, 1, 8, 8)))(None, None).shape == (1, 1, 8, 8)
    both = guide_from_config({"name": "lmi", "bins": 16})
    assert both.needs_sample
    with pytest.raises(ValueError, match="x_t"):
        both.prepare(torch.rand((1, 1, 8, 8)))(None, None)


def test_each_guide_takes_the_image_its_switch_asks_for():
    plain = guide_from_config({"name": "source", "randomise": False})
    turned = guide_from_config({"name": "source", "randomise": True})
    source, other = torch.full((1, 1, 4, 4), 0.25), torch.full((1, 1, 4, 4), 0.75)
    both = GuideSet([plain, turned])
    assert both.randomised
    channels = both.prepare(source, other)(None, None)
    assert channels[0, :, 0, 0].tolist() == [-0.5, 0.5]
    in_use = both.prepare(source)(None, None)
    assert in_use[0, :, 0, 0].tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "edges"}, "edges"),
        ({"name": "lmi", "maps": []}, "maps"),
        ({"name": "lmi", "bin": 3}, "bin"),
        ({}, "None"),
    ],
)
def test_bad_configs_are_refused(config, says):
    with pytest.raises(UsageError, match=says):
        guide_from_config(config)
