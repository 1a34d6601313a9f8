"""MIND against its formula, voxel by voxel."""

import numpy as np
import pytest
import torch

from chiasm.guides import guide_from_config
from chiasm.guides.mind import mind


def slow_mind(image, radius, sigma):
    """exp(−D/V) over its largest; patch distances D under a Gaussian cut at 4 σ."""
    tail = int(4 * sigma + 0.5)
    patch = np.stack(np.meshgrid(*[np.arange(-tail, tail + 1)] * image.ndim, indexing="ij"), -1)
    patch = patch.reshape(-1, image.ndim)
    weights = np.exp(-0.5 * (patch**2).sum(1) / sigma**2)
    weights /= weights.sum()
    steps = [s * radius * e for e in np.eye(image.ndim, dtype=int) for s in (-1, 1)]
    last = np.array(image.shape) - 1

    def at(place):
        return image[tuple(np.clip(place, 0, last))]

    distance = np.zeros((len(steps), *image.shape))
    for place in np.ndindex(image.shape):
        for n, step in enumerate(steps):
            for weight, offset in zip(weights, patch, strict=True):
                here = np.clip(np.array(place) + offset, 0, last)
                distance[(n, *place)] += weight * (at(here) - at(here + step)) ** 2
    variance = distance.mean(0)
    variance = np.maximum(variance, 1e-3 * variance.mean())
    values = np.exp(-distance / variance)
    return values / values.max(0)


@pytest.mark.parametrize(
    ("shape", "radius", "sigma"), [((7, 6), 1, 0.5), ((5, 6), 2, 1.0), ((4, 3, 3), 1, 0.25)]
)
def test_the_descriptor_is_its_formula(shape, radius, sigma):
    image = np.random.default_rng(0).random(shape)
    image[:1] = 0.4  # flat but for what reaches into it
    fast = mind(torch.from_numpy(image)[None, None], radius, sigma)[0]
    np.testing.assert_allclose(fast.numpy(), slow_mind(image, radius, sigma), atol=1e-5)


def test_it_does_not_depend_on_contrast():
    guide = guide_from_config({"name": "mind"})
    source = torch.rand((2, 1, 16, 14), generator=torch.Generator().manual_seed(0))
    as_it_is, inverted = (guide.prepare(one)(None, None) for one in (source, 0.9 - 0.6 * source))
    torch.testing.assert_close(as_it_is, inverted, atol=1e-4, rtol=0)
    other = guide.prepare(source.flip(0))(None, None)
    assert (as_it_is - other).abs().mean() > 0.1


def test_slices_of_context_are_described_one_by_one():
    guide = guide_from_config({"name": "mind"})
    source = torch.rand((2, 3, 9, 8))
    together = guide.prepare(source)(None, None)
    middle = guide.prepare(source[:, 1:2])(None, None)
    torch.testing.assert_close(together[:, 4:8], middle)
