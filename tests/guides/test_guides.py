"""What a guide is given, and what the network gets of it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom
from torch.nn import functional

from chiasm.augment.contrast import ContrastSettings, normalise, randomise_contrast
from chiasm.errors import UsageError
from chiasm.guides import GuideSet, guide_from_config
from chiasm.lmi import local_mutual_information, prepare
from chiasm.lmi.definition import ranks


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


def test_a_slice_is_compared_with_itself_once(monkeypatch):
    """Of neighbouring slices in a batch, each is the middle of one source and beside two others."""
    compared = []

    def counted(source, **settings):
        compared.append(len(source))
        return prepare(source, **settings)

    monkeypatch.setattr("chiasm.guides.lmi.prepare", counted)
    slices = torch.rand((6, 8, 8))
    source = torch.stack([slices[k : k + 3] for k in range(4)])
    maps = guide_from_config({"name": "lmi", "bins": 16, "maps": ["source"]}).prepare(source)
    for k in range(4):
        for near in range(3):
            itself = slices[k + near][None, None]
            expected = prepare(itself, bins=16)(itself)[0, 0] * 2 - 1
            torch.testing.assert_close(maps(None, None)[k, near], expected)
    assert compared == [6]


def brains(size=40):
    """Three smooth images with a disc of foreground, its mask, and what a sampler may have made."""
    rng = np.random.default_rng(0)
    waves = gaussian_filter(rng.normal(size=(3, size, size)), (0, 2, 2))
    axis = np.linspace(-1, 1, size)
    mask = torch.from_numpy(np.tile(axis[:, None] ** 2 + axis**2 < 0.8, (3, 1, 1)))
    image = normalise(torch.from_numpy(waves).float()[:, None], mask[:, None])
    x_t = 0.5 * image + torch.from_numpy(rng.normal(size=(3, 1, size, size))).float()
    return image, mask[:, None], x_t


QUANTILE = {"name": "lmi", "bins": 16, "binning": "quantile"}


def test_quantile_bins_rank_both_images_in_the_foreground_of_the_source():
    source, _, x_t = brains(20)
    maps = guide_from_config(QUANTILE).prepare(source)(x_t, None)
    for k in range(3):
        foreground = source[k, 0].numpy() > 0
        own, sample = (ranks(image[k, 0].numpy(), foreground) for image in (source, x_t))
        for channel, other in enumerate((sample, own)):
            expected = local_mutual_information(own, other, bins=16) * 2 - 1
            np.testing.assert_allclose(maps[k, channel].numpy(), expected, atol=1e-5)


def test_quantile_maps_do_not_depend_on_the_contrast_of_either_image():
    source, mask, x_t = brains()
    changed = torch.where(source > 0, 0.1 + 0.9 * source**3, 0)
    maps = {}
    for binning in ("quantile", "uniform"):
        guide = guide_from_config({**QUANTILE, "binning": binning})
        before, after = guide.prepare(source)(x_t, None), guide.prepare(changed)(3 * x_t - 1, None)
        maps[binning] = (after - before).abs()[mask.expand_as(before)].mean()
    assert maps["quantile"] < 0.01
    assert maps["uniform"] > 0.1


def test_quantile_maps_of_a_random_contrast_without_reordering():
    """With randomised contrast, only the reordered tissues, bias, blur and noise remain."""
    source, mask, x_t = brains()
    inner = mask & (functional.avg_pool2d(mask.float(), 7, 1, 3) == 1)
    settings = ContrastSettings(roughness=0, variation=0, bias=0, gamma=0, blur=0, noise=0)
    generator = torch.Generator().manual_seed(1)
    drawn = randomise_contrast(source, mask, source.flatten(1), settings, generator).image
    falling = [np.corrcoef(*(x[k][mask[k]] for x in (source, drawn)))[0, 1] < 0 for k in range(3)]
    assert 0 < sum(falling) < 3  # straight lines, rising and falling
    guides = GuideSet([guide_from_config({**QUANTILE, "randomise": True})])
    before, after = guides.prepare(source)(x_t, None), guides.prepare(source, drawn)(x_t, None)
    # Both ends of the distribution are clipped, so the ranks differ a little.
    assert (after - before).abs()[inner.expand_as(before)].mean() < 0.02
    assert guide_from_config(QUANTILE).record()["binning"] == "quantile"


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
        ({"name": "lmi", "binning": "equal"}, "binning"),
        ({"name": "mind", "radius": 0}, "radius"),
        ({}, "None"),
    ],
)
def test_bad_configs_are_refused(config, says):
    with pytest.raises(UsageError, match=says):
        guide_from_config(config)
