"""What every registered guide promises: channels, range, and each sample by itself."""

import itertools

import pytest
import torch

from chiasm.guides import GuideSet, guide_from_config
from chiasm.registry import GUIDES

CONFIGS = {
    "source": {"name": "source"},
    "lmi": {"name": "lmi", "bins": 16},
    "lmi of every offset": {"name": "lmi", "bins": 16, "reduce": "none"},
    "lmi of several sizes": {
        "name": "lmi",
        "bins": 16,
        "patch_sizes": [3, 5],
        "scales": [1, 2],
        "search_size": 1,
    },
    "lmi of quantiles": {"name": "lmi", "bins": 16, "binning": "quantile", "scales": [1, 2]},
    "mind": {"name": "mind"},
    "mind, wide": {"name": "mind", "radius": 2, "sigma": 1},
    "contours": {"name": "contours"},
    "edges": {"name": "edges"},
}
SHAPES = [(13, 11), (6, 7, 5)]


def test_every_registered_guide_is_tested_here():
    assert {config["name"] for config in CONFIGS.values()} == set(GUIDES)


def images(spatial, channels=1):
    """A noisy image, a black one, a grey one; and what a sampler may have made of each."""
    generator = torch.Generator().manual_seed(0)
    source = torch.rand((3, channels, *spatial), generator=generator)
    source[1], source[2] = 0, 0.7
    return source, torch.randn((3, 1, *spatial), generator=generator)


@pytest.mark.parametrize("spatial", SHAPES, ids=["2d", "3d"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_channels_range_and_independence(config, spatial):
    guide = guide_from_config(config)
    source, x_t = images(spatial, channels=2)
    values = guide.prepare(source)(x_t, None)
    assert values.shape == (3, guide.channels(2, len(spatial)), *spatial)
    assert values.dtype == source.dtype
    assert values.min() >= -1
    assert values.max() <= 1
    assert values[0].std() > 0.05
    for k in range(3):
        one = slice(k, k + 1)
        alone = guide.prepare(source[one])(x_t[one], None)
        torch.testing.assert_close(alone, values[one])


@pytest.mark.parametrize("spatial", SHAPES, ids=["2d", "3d"])
def test_any_two_make_one_guide(spatial):
    source, x_t = images(spatial)
    guides = [guide_from_config(config) for config in CONFIGS.values()]
    alone = [guide.prepare(source)(x_t, None) for guide in guides]
    for i, k in itertools.combinations(range(len(guides)), 2):
        pair = GuideSet([guides[i], guides[k]])
        assert pair.channels(1, len(spatial)) == len(alone[i][0]) + len(alone[k][0])
        assert pair.needs_sample == (guides[i].needs_sample or guides[k].needs_sample)
    together = GuideSet(guides).prepare(source)(x_t, None)
    torch.testing.assert_close(together, torch.cat(alone, dim=1))
