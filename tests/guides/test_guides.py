"""What a guide is given, and what the network gets of it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

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


def test_the_vector_is_the_score_of_every_offset():
    guide = guide_from_config({"name": "lmi", "maps": ["sample"], "reduce": "none", "bins": 16})
    for spatial in ((9, 8), (4, 5, 3)):
        source, x_t = torch.rand((2, 1, *spatial)), torch.rand((2, 1, *spatial))
        maps = guide.prepare(source)(x_t, None)
        expected = local_mutual_information(source, x_t, bins=16, reduce="none") * 2 - 1
        torch.testing.assert_close(maps, expected, atol=1e-6, rtol=0)


def block_means(image, size):
    """Of a 2D array; blocks at the far ends are as small as is left."""
    rows, columns = (range(0, n, size) for n in image.shape)
    return np.array([[image[i : i + size, k : k + size].mean() for k in columns] for i in rows])


def test_a_coarser_scale_compares_means_of_blocks():
    guide = guide_from_config({"name": "lmi", "maps": ["sample"], "scales": [1, 2], "bins": 16})
    source, x_t = torch.rand((1, 1, 13, 10)), torch.randn((1, 1, 13, 10))
    maps = guide.prepare(source)(x_t, None)[0].numpy()
    arrays = [image[0, 0].numpy() for image in (source, x_t)]
    plain = local_mutual_information(*arrays, bins=16)
    np.testing.assert_allclose(maps[0], plain * 2 - 1, atol=1e-6)
    coarse = local_mutual_information(*(block_means(image, 2) for image in arrays), bins=16)
    finer = zoom(coarse, 2, order=1, mode="nearest", grid_mode=True)[:13, :10]
    np.testing.assert_allclose(maps[1], finer * 2 - 1, atol=1e-5)


def test_patches_of_several_sizes_are_channels():
    several = guide_from_config({"name": "lmi", "maps": ["source"], "patch_sizes": [5, 3]})
    source = torch.rand((1, 1, 9, 9))
    maps = several.prepare(source)(None, None)
    for channel, size in enumerate((5, 3)):
        for key in ("patch_size", "patch_sizes"):  # the first is what older models say
            one = guide_from_config({"name": "lmi", "maps": ["source"], key: size})
            assert one.channels(1, 2) == 1
            torch.testing.assert_close(maps[:, channel], one.prepare(source)(None, None)[:, 0])


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
        ({"name": "phase"}, "phase"),
        ({"name": "lmi", "maps": []}, "maps"),
        ({"name": "lmi", "bin": 3}, "bin"),
        ({"name": "lmi", "patch_sizes": [3, 4]}, "patch_size 4"),
        ({"name": "lmi", "scales": []}, "scales"),
        ({"name": "mind", "radius": 0}, "radius"),
        ({}, "None"),
    ],
)
def test_bad_configs_are_refused(config, says):
    with pytest.raises(UsageError, match=says):
        guide_from_config(config)
