"""Latents are found again; losses against slow definitions and analytic values."""

import math

import numpy as np
import pytest
import torch

from stylegan.generator import StyleGenerator
from stylegan.inversion import (
    LOSSES,
    InversionSettings,
    gradient_fields,
    invert,
    mutual_information,
)

SIZE = (16, 24)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return StyleGenerator(2, 1, features=(8, 8), latent=6, mapping=1).requires_grad_(False)


def made(generator, count, seed=3):
    z = torch.randn((count, generator.latent), generator=torch.Generator().manual_seed(seed))
    return generator(generator.map(z)[:, None].expand(count, generator.layers, -1), SIZE)


def test_an_image_of_the_generator_is_found(generator):
    source = made(generator, 2)
    settings = InversionSettings(loss="l1", iterations=200, rate=0.1, prior=0)
    steps = []
    with torch.inference_mode():  # as translators run it
        result = invert(generator, source, settings, lambda *step: steps.append(step))
    first = invert(generator, source, settings.model_copy(update={"iterations": 1}))
    error = [(one - source).abs().mean((1, 2, 3)) for one in (first, result)]
    assert (error[1] < 0.05 * error[0]).all()
    assert steps[0] == (1, 200)
    assert steps[-1] == (200, 200)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_sample_is_inverted_as_it_is_alone(generator, loss):
    source = made(generator, 2).clamp(0, 1)
    settings = InversionSettings(loss=loss, iterations=5)
    alone = torch.cat([invert(generator, one[None], settings) for one in source])
    torch.testing.assert_close(invert(generator, source, settings), alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_falls(generator, loss):
    source = made(generator, 1).clamp(0, 1)
    value = [
        LOSSES[loss](invert(generator, source, InversionSettings(loss=loss, iterations=n)), source)
        for n in (1, 60)
    ]
    assert value[1] < value[0]


def test_edges_alone_do_not_drive_an_image_out_of_its_range(generator):
    source = made(generator, 2).clamp(0, 1)
    settings = InversionSettings(loss="gradient-fields", iterations=100, rate=0.1, prior=0)
    image = invert(generator, source, settings)
    assert (image - image.clamp(0, 1)).abs().mean() < 0.05  # 0.1 where that has no price


def test_a_strong_prior_keeps_the_mean_image(generator):
    sources = made(generator, 2)
    near, far = (
        invert(generator, sources, InversionSettings(loss="l1", iterations=50, prior=prior))
        for prior in (1e4, 0.0)
    )
    assert (near[0] - near[1]).abs().mean() < 0.05 * (far[0] - far[1]).abs().mean()


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 6)])
def test_gradient_fields_against_a_loop(shape):
    a, b = np.random.default_rng(0).random((2, *shape))
    total = 0.0
    slopes = [np.stack(np.gradient(one)) for one in (a, b)]
    for place in np.ndindex(shape):
        u, v = (slope[(slice(None), *place)] for slope in slopes)
        total += 1 - (u @ v) ** 2 / ((u @ u + 0.05**2) * (v @ v + 0.05**2))
    images = [torch.from_numpy(one)[None, None] for one in (a, b)]
    assert gradient_fields(*images).item() == pytest.approx(total / a.size)


def test_gradient_fields_do_not_see_which_side_is_bright():
    a, b = torch.rand(2, 3, 1, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(gradient_fields(a, b), gradient_fields(1 - a, b))


def test_mutual_information_of_two_grey_values():
    columns = (torch.arange(8) % 2).float().expand(8, 8)[None, None]
    same, turned = columns, columns.mT
    assert mutual_information(columns, 1 - same).item() == pytest.approx(-math.log(2), abs=1e-3)
    assert mutual_information(columns, turned).item() == pytest.approx(0, abs=1e-3)
