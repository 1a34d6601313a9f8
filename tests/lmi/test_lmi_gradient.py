"""The gradient of the score with respect to the other image."""

from functools import partial

import pytest
import torch
from lmi_images import noise, pieces, smooth
from lmi_memory import peak_memory

from chiasm.lmi import LMISettings
from chiasm.lmi.torch_engine import TorchEngine

AMPLE = 2**30
CASES = {
    "default": ((1, 4, 5), {}),
    "bits": ((1, 4, 5), {"normalized": False}),
    "batch": ((2, 3, 3), {}),
    "patch 5, search 1": ((1, 5, 4), {"patch_size": 5, "search_size": 1}),
    "search 5, 8 bins": ((1, 4, 4), {"search_size": 5, "bins": 8, "bandwidth": 0.1}),
    "volume": ((1, 2, 3, 3), {"bins": 9, "bandwidth": 0.07}),
}


def inside(shape, seed):
    """float64, away from the kinks at 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 0.9 + 0.05


def gradient(engine, other, every_offset=False):
    """Of the mean score, with respect to ``other``."""
    other = other.clone().requires_grad_()
    (result,) = torch.autograd.grad(engine(other, every_offset).mean(), other)
    return result


@pytest.mark.parametrize(("shape", "settings"), CASES.values(), ids=CASES)
def test_gradcheck(shape, settings):
    source, other = inside(shape, 1), inside(shape, 2).requires_grad_()
    engine = TorchEngine(source, LMISettings(**settings), AMPLE)
    assert torch.autograd.gradcheck(lambda image: engine(image, False).mean(), other)
    # In random directions, all of the Jacobian at once.
    assert torch.autograd.gradcheck(partial(engine, every_offset=True), other, fast_mode=True)


def test_gradcheck_beyond_0_and_1_and_on_a_background():
    source, other = (torch.from_numpy(noise((1, 5, 6), seed)).double() for seed in (3, 4))
    # The finite differences of gradcheck would leave an exact background, so it lies below 0.
    other[:, :, 3:] = -0.1
    other.requires_grad_()
    engine = TorchEngine(source, LMISettings(search_size=1), AMPLE)
    assert torch.autograd.gradcheck(partial(engine, every_offset=True), other)
    clamped = (other < 0) | (other > 1)
    by_other = gradient(engine, other.detach())
    assert (by_other[clamped] == 0).all()
    assert (by_other[~clamped] != 0).all()


@pytest.mark.parametrize("normalized", [True, False])
def test_single_precision_equals_double(normalized):
    source, other = (torch.from_numpy(noise((1, 12, 13), seed)) for seed in (5, 6))
    for every_offset in (True, False):
        single, double = (
            gradient(
                TorchEngine(source.to(dtype), LMISettings(normalized=normalized), AMPLE),
                other.to(dtype),
                every_offset,
            )
            for dtype in (torch.float32, torch.float64)
        )
        assert single.dtype == torch.float32
        scale = double.abs().max()
        torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4 * scale.item())


@pytest.mark.parametrize("constant", [0.0, 0.4, 1.0])
def test_constant_patches_have_no_gradient(constant):
    source, other = (torch.from_numpy(pieces((1, 16, 17), seed)) for seed in (7, 8))
    other[:, :, 6:] = constant
    by_other = gradient(TorchEngine(source, LMISettings(search_size=1), AMPLE), other)
    assert by_other.isfinite().all()
    assert (by_other[:, :, 8:] == 0).all()
    assert by_other.abs().max() > 0
    flat = torch.full_like(source, constant)
    assert (gradient(TorchEngine(source, LMISettings(), AMPLE), flat) == 0).all()
    assert (gradient(TorchEngine(flat, LMISettings(), AMPLE), other) == 0).all()


def test_best_offset_is_the_smallest_of_equals():
    # Stripes: offsets along a column tell nothing, so three of them share every best score.
    source = inside((1, 7, 8), 9)
    other = inside((1, 1, 8), 10).expand(1, 7, 8).contiguous().requires_grad_()
    engine = TorchEngine(source, LMISettings(), AMPLE)
    every = engine(other, True).unflatten(1, (3, 3))
    torch.testing.assert_close(every[:, 0], every[:, 2], rtol=0, atol=0)
    (expected,) = torch.autograd.grad(every[:, 1].amax(1).mean(), other)
    torch.testing.assert_close(gradient(engine, other.detach()), expected)
    (elsewhere,) = torch.autograd.grad(engine(other, True)[:, :3].amax(1).mean(), other)
    assert (elsewhere - expected).abs().max() > 1e-4


def test_memory_is_bounded_and_changes_nothing():
    source, other = (torch.from_numpy(noise((1, 30, 31), seed)) for seed in (11, 12))
    memory = 2**20
    ample, scarce = (TorchEngine(source, LMISettings(), size) for size in (AMPLE, memory))
    for every_offset in (False, True):
        peak, by_other = peak_memory(partial(gradient, scarce, other, every_offset))
        # Beside the copy of ``other``, the scores, their gradient, and that of ``other``.
        images = 2 + 2 * (9 if every_offset else 1)
        assert peak < memory + (images + 1) * other.nbytes
        expected = gradient(ample, other, every_offset)
        torch.testing.assert_close(by_other, expected, rtol=0, atol=1e-8)


def test_reaches_what_the_image_was_made_from():
    source = torch.from_numpy(noise((1, 9, 9), 13))
    engine = TorchEngine(source, LMISettings(), AMPLE)
    parameter = torch.tensor(0.5, requires_grad=True)
    image = torch.from_numpy(noise((1, 9, 9), 14)) * parameter
    engine(image, False).mean().backward()
    by_image = gradient(engine, image.detach())
    expected = (by_image * torch.from_numpy(noise((1, 9, 9), 14))).sum()
    torch.testing.assert_close(parameter.grad, expected)


def test_ascent_steers_towards_the_source():
    # The source with its contrast turned round is what a noised image should come nearer to.
    source = torch.from_numpy(smooth((1, 24, 25), 15))
    noised = (1 - source + 0.1 * torch.randn(source.shape, generator=torch.manual_seed(16))).clamp(
        0.02, 0.98
    )
    engine = TorchEngine(source, LMISettings(search_size=1), AMPLE)
    image = noised
    for _ in range(20):
        step = gradient(engine, image)
        image = image + 0.005 * step / step.square().mean().sqrt()
    before, after = (engine(one, False).mean() for one in (noised, image))
    assert after > before + 0.05
