"""The curve of a volume against a slow definition, and what a network is told of it."""

import numpy as np
import pytest
import torch

from chiasm.augment.contrast import ContrastSettings, intensity_map, randomise_contrast
from chiasm.methods.regression.intensity_mapping import (
    IntensityMappingSettings,
    disturb,
    measured_mapping,
    unknown,
)

PLAIN = {"variation": 0, "bias": 0, "gamma": 0, "blur": 0, "noise": 0}


def slow_curve(source, target, nodes):
    """Kernel regression of Nadaraya and Watson on voxels shared out between their two nodes."""
    curve = []
    for place in np.arange(nodes) / (nodes - 1):
        above = below = 0.0
        for s, t in zip(source, target, strict=True):
            for node in np.arange(nodes) / (nodes - 1):
                share = max(0.0, 1 - abs(s - node) * (nodes - 1))
                apart = (place - node) ** 2
                kernel = np.exp(-apart / (2 * 0.04**2)) + 1e-3 * np.exp(-apart / (2 * 0.25**2))
                above += share * kernel * t
                below += share * kernel
        curve.append(above / below)
    return curve


def test_the_curve_is_kernel_regression():
    source = torch.rand((2, 40), dtype=torch.float64)
    source[0, :2] = torch.tensor([0.0, 1.0])
    target = torch.rand((2, 40), dtype=torch.float64)
    curve = measured_mapping(source, target, 7)
    for k in range(2):
        np.testing.assert_allclose(curve[k], slow_curve(source[k], target[k], 7), atol=1e-9)


@pytest.mark.parametrize("function", [lambda x: 1 - x, lambda x: 4 * x * (1 - x)])
def test_a_function_of_the_source_is_found_again(function):
    source = torch.linspace(0, 1, 4001)[None]
    curve = measured_mapping(source, function(source), 25)
    inner = torch.linspace(0.1, 0.9, 50)[None]
    torch.testing.assert_close(intensity_map(inner, curve), function(inner), atol=0.02, rtol=0)


def test_where_no_voxel_is_the_curve_takes_from_its_neighbours():
    source = torch.tensor([[0.1] * 50 + [0.9] * 50])
    curve = measured_mapping(source, source.flip(1), 25)
    assert float(curve[0, 0]) == pytest.approx(0.9, abs=0.02)
    assert float(curve[0, -1]) == pytest.approx(0.1, abs=0.02)
    assert (curve.diff(dim=1) <= 1e-4).all()


def test_disturbed_curves_are_flatter_and_some_are_unknown():
    true = torch.linspace(0.2, 0.8, 9).repeat(4000, 1)
    settings = IntensityMappingSettings(dropout=0.25, flattening=0.4, ripple=0)
    seen = disturb(true, settings, torch.Generator().manual_seed(0))
    lost = (seen == unknown(seen)).all(dim=1)
    assert 0.22 < float(lost.float().mean()) < 0.28
    width = (seen[~lost, -1] - seen[~lost, 0]) / 0.6
    assert 0.6 <= float(width.min()) < 0.61
    assert 0.99 < float(width.max()) <= 1 + 1e-5
    rippled = disturb(true, IntensityMappingSettings(dropout=0, flattening=0, ripple=0.05))
    # Between two of its nodes a wave is narrower than at them.
    assert 0.03 < float((rippled - true).std()) < 0.05


def test_the_population_goes_through_the_images_map():
    """Without noise a voxel of the volume meets the fate of the voxel of equal intensity."""
    levels = torch.linspace(0, 1, 2001)
    image = levels[torch.randint(0, 2001, (3, 1, 20, 16))]
    mask = torch.ones_like(image, dtype=torch.bool)
    out = randomise_contrast(image, mask, levels.repeat(3, 1), ContrastSettings(**PLAIN))
    where = (image.flatten(1) * 2000).round().long()
    expected = out.population.gather(1, where)
    torch.testing.assert_close(out.image.flatten(1), expected, atol=1e-5, rtol=0)
    low, high = np.percentile(out.population.numpy(), [0.5, 99.5], axis=1)
    np.testing.assert_allclose(low, 0, atol=1e-3)
    np.testing.assert_allclose(high, 1, atol=1e-3)


def test_a_slice_is_laid_on_the_range_of_its_volume():
    """A slice without the volume's brightest voxels does not reach 1."""
    image = torch.full((1, 1, 8, 8), 0.25)
    image[..., 4:] = 0.5
    mask = torch.ones_like(image, dtype=torch.bool)
    volume = torch.linspace(0, 1, 1001)[None]
    settings = ContrastSettings(**PLAIN, roughness=0)
    out = randomise_contrast(image, mask, volume, settings, torch.Generator().manual_seed(3))
    span = float(out.image.max() - out.image.min())
    assert span == pytest.approx(0.25 / 0.99, abs=1e-3)
