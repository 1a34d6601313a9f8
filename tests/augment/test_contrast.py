"""Contrast randomisation against NumPy, and what it must never do."""

import numpy as np
import pytest
import torch

from chiasm.augment.contrast import (
    ContrastSettings,
    bias_field,
    intensity_map,
    normalise,
    random_knots,
    randomise_contrast,
)


def test_the_map_is_numpys_interpolation():
    values = torch.rand((3, 8))
    image = torch.rand((3, 2, 5, 7))
    image[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    mapped = intensity_map(image, values)
    for k in range(3):
        expected = np.interp(image[k].numpy(), np.linspace(0, 1, 8), values[k].numpy())
        np.testing.assert_allclose(mapped[k].numpy(), expected, atol=1e-6)


def test_normalise_lays_percentiles_of_the_head_on_0_and_1():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, 100, 100), generator=generator) * 5 + 40
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 20:90, 10:80] = True
    out = normalise(image, mask)
    inside = image[mask].numpy()
    low, high = np.percentile(inside, [0.5, 99.5])
    expected = np.clip((inside - low) / (high - low), 0, 1)
    np.testing.assert_allclose(out[mask].numpy(), expected, atol=1e-5)
    assert (out[~mask] == 0).all()


@pytest.mark.parametrize("spatial", [(24, 20), (12, 10, 8)])
def test_draws_repeat_by_seed_and_differ_otherwise(spatial):
    image = torch.rand((2, 1, *spatial))
    mask = image > 0.2
    values = torch.linspace(0, 1, 200).repeat(2, 1)
    draw = [
        randomise_contrast(
            image, mask, values, ContrastSettings(), torch.Generator().manual_seed(seed)
        ).image
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert (draw[0][~mask] == 0).all()
    assert draw[0].min() >= 0
    assert draw[0].max() <= 1


def test_the_order_of_tissues_is_often_turned():
    """Darker may become brighter: of three tissues any of the 6 orders comes up, often inverted."""
    image = torch.zeros((400, 1, 6, 6))
    for k, level in enumerate((0.2, 0.55, 0.9)):
        image[:, :, :, 2 * k : 2 * k + 2] = level
    values = random_knots(400, ContrastSettings(), torch.Generator().manual_seed(0))
    assert values.min() >= 0
    assert values.max() <= 1
    mapped = intensity_map(image, values)[:, 0, 0, ::2]
    orders = {tuple(order.tolist()) for order in mapped.argsort(dim=1)}
    assert len(orders) == 6
    rising = (mapped.diff(dim=1) > 0).all(dim=1).float().mean()
    falling = (mapped.diff(dim=1) < 0).all(dim=1).float().mean()
    assert 0.2 < float(rising) < 0.45
    assert 0.2 < float(falling) < 0.45


def test_no_roughness_is_a_straight_line():
    values = random_knots(50, ContrastSettings(roughness=0), torch.Generator().manual_seed(0))
    bends = values.diff(dim=1, n=2)
    torch.testing.assert_close(bends, torch.zeros_like(bends), atol=1e-6, rtol=0)


def test_bias_stays_within_its_strength():
    field = bias_field((50, 1, 30, 20), 0.2, torch.Generator().manual_seed(0))
    assert field.shape == (50, 1, 30, 20)
    assert 0.8 <= float(field.min()) < 0.83
    assert 1.17 < float(field.max()) <= 1.2
    assert float(field.diff(dim=2).abs().max()) < 0.06
