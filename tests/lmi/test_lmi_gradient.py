"""The gradient of the score with respect to the other image."""

from functools import partial

import pytest
import torch
from lmi_images import noise, pieces, smooth
from lmi_memory import peak_memory

from chiasm.lmi import LMISettings, prepare
from chiasm.lmi.cpu import NumbaEngine
from chiasm.lmi.cpu_gradient import NumbaGradient
from chiasm.lmi.torch_engine import TorchEngine
from chiasm.machine.cost import measure

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


BOXES = {
    "image": ((2, 13, 17), {}),
    "in bits": ((1, 13, 17), {"normalized": False}),
    "patch 5, wide kernel": ((1, 12, 15), {"patch_size": 5, "bins": 11, "bandwidth": 0.1}),
    "volume": ((2, 7, 9, 8), {"bins": 9, "bandwidth": 0.07}),
    "volume, patch 5": ((1, 6, 7, 8), {"patch_size": 5, "bins": 7, "bandwidth": 0.1}),
    "smaller than its patch": ((1, 2, 3, 4), {"patch_size": 5, "bins": 7, "bandwidth": 0.1}),
}


def by_boxes(source, settings, memory=AMPLE):
    return NumbaGradient(source, settings, memory, NumbaEngine(source, settings, memory))


@pytest.mark.parametrize("make", [noise, smooth, pieces])
@pytest.mark.parametrize(("shape", "settings"), BOXES.values(), ids=BOXES)
def test_box_sums_are_the_definition(shape, settings, make):
    settings = LMISettings(search_size=1, **settings)
    source, other = (torch.from_numpy(make(shape, seed)) for seed in (17, 18))
    other = 1.2 * other - 0.1  # some of it clamped
    weights = torch.from_numpy(noise(shape, 19)) - 0.3

    def weighted(engine, image):
        image = image.clone().requires_grad_()
        scores = engine(image, False)[:, 0]
        (result,) = torch.autograd.grad((scores * weights.to(image)).sum(), image)
        return scores.detach(), result

    scores, by_other = weighted(by_boxes(source, settings), other)
    exact = TorchEngine(source.double(), settings, AMPLE)
    expected, by_definition = weighted(exact, other.double())
    torch.testing.assert_close(scores.double(), expected, rtol=0, atol=1e-5)
    scale = by_definition.abs().max().item()
    # Where the scores are flat, all of it is what single precision leaves of larger terms.
    atol = max(2e-4 * scale, 1e-5)
    torch.testing.assert_close(by_other.double(), by_definition, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(3, 40, 31), (1, 30, 14, 15)])
def test_slabs_change_nothing_but_rounding(shape):
    settings = LMISettings(search_size=1, bins=9, bandwidth=0.1)
    source, other = (torch.from_numpy(noise(shape, seed)) for seed in (20, 21))
    whole, slabs = (gradient(by_boxes(source, settings, m), other) for m in (AMPLE, 2**15))
    scale = whole.abs().max().item()
    torch.testing.assert_close(slabs, whole, rtol=0, atol=1e-5 * scale)


def test_a_masked_gradient_is_that_of_the_scores_that_are_kept():
    source, other = (torch.from_numpy(noise((1, 1, 20, 21), seed)) for seed in (22, 23))
    mask = torch.zeros_like(source, dtype=torch.bool)
    mask[..., 5:12, 4:15] = True
    image = other.clone().requires_grad_()
    score = prepare(source, mask=mask, search_size=1)
    (found,) = torch.autograd.grad(score(image).sum(), image)
    everywhere = prepare(source, search_size=1)
    (expected,) = torch.autograd.grad((everywhere(image) * mask).sum(), image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert found[..., :4, :].abs().max() == 0


def test_memory_of_box_sums_is_bounded():
    """Of the process: numba's arrays are none of torch's."""
    settings = LMISettings(search_size=1, bins=9, bandwidth=0.1)
    source, other = (torch.from_numpy(noise((1, 64, 96, 97), seed)) for seed in (24, 25))
    weights = torch.ones_like(other)
    small = torch.zeros(1, 4, 5, 6)
    by_boxes(small, settings).gradient(small, small)  # compiled, or read, before it is measured
    torch.set_num_threads(4)  # more than there is memory for
    memory, taken = 2**24, {}
    for size in (memory, AMPLE):
        engine = by_boxes(source, settings, size)
        before = measure(lambda: None, "cpu").memory_mb
        taken[size] = measure(lambda: engine.gradient(other, weights), "cpu").memory_mb - before  # noqa: B023
    assert taken[memory] < (memory + 10 * other.nbytes) / 2**20
    assert taken[AMPLE] > 2 * taken[memory]
