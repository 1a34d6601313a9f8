"""Values known without computing a histogram."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from chiasm.lmi import LMISettings, local_mutual_information, patch_mutual_information, prepare
from chiasm.lmi.definition import Definition

BANDWIDTH = 8 / 255


def uniform(shape, seed):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def kernel_entropy(value, bins=27):
    """H(kernel) in bits: of one grey value's Parzen weights."""
    w = np.exp(-0.5 * ((value - np.linspace(0, 1, bins)) / BANDWIDTH) ** 2)
    w /= w.sum()
    return -np.sum(w * np.log2(w))


def two_valued_expectation(p, low, high):
    """H(p) / (H(p) + H(kernel)) where a share p of the patch has the high value."""
    p = np.clip(p, 1e-300, 1 - 1e-16)
    binary = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    kernel = p * kernel_entropy(high) + (1 - p) * kernel_entropy(low)
    return binary / (binary + kernel)


@pytest.mark.parametrize("value", [0.0, 0.3, 1 / 3, 1.0, 7.5])
@pytest.mark.parametrize("normalized", [True, False])
def test_constant_patch_scores_exactly_zero(value, normalized):
    constant, other = np.full((12, 14), value, np.float32), uniform((12, 14), 0)
    half = other.copy()
    half[:, 7:] = value
    for settings in ({"normalized": normalized}, {"normalized": normalized, "bandwidth": 0.01}):
        assert (local_mutual_information(constant, other, **settings) == 0).all()
        assert (local_mutual_information(other, constant, **settings) == 0).all()
        assert (local_mutual_information(constant, constant, **settings) == 0).all()
        for pair in ((half, other), (other, half)):
            scores = local_mutual_information(*pair, search_size=1, **settings)
            assert (scores[:, 8:] == 0).all()
            assert (scores[:, :7] > 0).all()


@pytest.mark.parametrize("normalized", [True, False])
def test_constant_patch_scores_exactly_zero_in_torch(normalized):
    settings = LMISettings(normalized=normalized)
    constant, other = torch.full((1, 6, 7), 0.3), torch.from_numpy(uniform((1, 6, 7), 0))
    assert (Definition(constant, settings)(other, True) == 0).all()
    assert (Definition(other, settings)(constant, True) == 0).all()


@pytest.mark.parametrize("patch_size", [3, 5])
def test_two_valued_patches_against_themselves(patch_size):
    low, high = 0.3, 0.3 + 12 * BANDWIDTH
    mask = uniform((20, 22), 1) < 0.4
    image = np.where(mask, high, low).astype(np.float32)
    share = uniform_filter(mask.astype(float), patch_size, mode="nearest")
    scores = local_mutual_information(image, image, patch_size=patch_size, search_size=1)
    expected = two_valued_expectation(share, np.float32(low), np.float32(high))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("bandwidths", "within"), [(3, 0.15), (6, 5e-3), (10, 1e-5)])
def test_two_valued_patch_as_kernels_part(bandwidths, within):
    # Kernels that overlap hide some of H(p): the closed form is the limit of parted ones.
    low, high = 0.25, 0.25 + bandwidths * BANDWIDTH
    patches = np.array([[low] * (9 - k) + [high] * k for k in range(1, 9)])
    expected = two_valued_expectation(np.arange(1, 9) / 9, low, high)
    scores = patch_mutual_information(patches, patches)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=within)
    assert (scores < expected + 1e-6).all()


def test_relabelling_grey_values_changes_nothing():
    levels = np.array([5, 15, 26]) * BANDWIDTH
    labels = np.random.default_rng(2).integers(0, 3, (20, 22))
    other = uniform((20, 22), 3)
    images = [levels[list(order)][labels].astype(np.float32) for order in ((0, 1, 2), (2, 0, 1))]
    for pair in (lambda image: (image, other), lambda image: (other, image)):
        first, second = (local_mutual_information(*pair(image)) for image in images)
        np.testing.assert_allclose(first, second, rtol=0, atol=2e-5)
    assert first.max() > 0.2


@pytest.mark.parametrize("shape", [(13, 15), (4, 5, 6)])
def test_symmetric_without_search(shape):
    x, y = uniform(shape, 4), uniform(shape, 5)
    forth = local_mutual_information(x, y, search_size=1)
    back = local_mutual_information(y, x, search_size=1)
    np.testing.assert_allclose(forth, back, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bandwidth", [0.25 / 26, 8 / 255, 0.3])
def test_normalised_score_lies_between_0_and_1(bandwidth):
    source = uniform((15, 16), 6)
    sample = np.random.default_rng(7).normal(0.5, 2, source.shape).astype(np.float32)
    sample[:2] = [[1e30], [-np.inf]]
    for other in (sample, source, source * 1e-3):
        scores = prepare(source, bandwidth=bandwidth)(other, reduce="none")
        assert scores.min() >= 0
        assert scores.max() <= 1


def test_values_beyond_0_and_1_are_clamped():
    source, other = uniform((2, 10, 12), 8) * 3 - 1
    np.testing.assert_array_equal(
        local_mutual_information(source, other),
        local_mutual_information(source.clip(0, 1), other.clip(0, 1)),
    )


@pytest.mark.parametrize(("shape", "move"), [((26, 30), (3, 5)), ((8, 9, 10), (1, 2, 3))])
def test_moves_with_the_images(shape, move):
    source, other = uniform(shape, 9), uniform(shape, 10)
    moved = tuple(slice(m, None) for m in move)
    whole = local_mutual_information(source, other)[moved]
    part = local_mutual_information(source[moved], other[moved])
    inner = (slice(2, -2),) * len(shape)
    np.testing.assert_array_equal(part[inner], whole[inner])
    assert np.abs(part - whole).max() > 1e-3


@pytest.mark.parametrize("shift", [(-1, 0), (0, 1), (1, 1), (1, 0, -1)])
def test_offsets_run_from_the_most_negative(shift):
    source = uniform((9,) * len(shift), 11)
    # other(x + shift) = source(x): the patch of the same place has moved by ``shift``.
    other = np.roll(source, shift, range(source.ndim))
    scores = prepare(source)(other, reduce="none")
    number = np.ravel_multi_index([s + 1 for s in shift], (3,) * len(shift))
    inner = (slice(2, -2),) * len(shift)
    assert (scores.argmax(0)[inner] == number).all()
    np.testing.assert_array_equal(scores.max(0), local_mutual_information(source, other))


@pytest.mark.parametrize("shift", [(-1, 0), (0, 1), (1, 1), (1, 0, -1)])
def test_best_offset_is_the_displacement(shift):
    source = uniform((9,) * len(shift), 12)
    other = np.roll(source, shift, range(source.ndim))
    found = prepare(source)(other, reduce="offset")
    assert found.dtype == np.int64
    assert found.shape == (len(shift), *source.shape)
    inner = (slice(None), *(slice(2, -2),) * len(shift))
    assert (np.moveaxis(found[inner], 0, -1) == shift).all()


def test_among_equal_offsets_the_smallest_is_found():
    # Columns that repeat: displacements along rows change nothing. Constant: nothing is known.
    stripes = np.repeat(uniform((12, 1), 13), 14, axis=1)
    found = local_mutual_information(stripes, stripes, reduce="offset", search_size=5)
    assert (found[1] == 0).all()
    constant = np.full((6, 7), 0.4, np.float32)
    assert (local_mutual_information(constant, uniform((6, 7), 14), reduce="offset") == 0).all()
    # Equally far on both sides: the first in order. The source's own place is not repeated.
    source = uniform((1, 20), 15)
    other = np.where(np.arange(20) % 2, 0.9, 0.1).astype(np.float32)[None]
    scores = prepare(source)(other, reduce="none").reshape(3, 3, 20)
    vectors = prepare(source)(other, reduce="offset")
    equal = scores[1, 0] == scores[1, 2]
    sideways = equal & (scores[1, 0] > scores[1, 1])
    assert sideways.sum() > 2
    assert (vectors[:, 0, sideways] == [[0], [-1]]).all()


@pytest.mark.parametrize("shape", [(13, 40), (2, 1, 9, 10), (5, 6, 7)])
def test_masked_scores_are_those_of_the_whole(shape):
    source, other = uniform(shape, 16), uniform(shape, 17)
    mask = uniform(shape, 18) < 0.3
    mask[..., :4] = False
    mask[..., -2, :] = False
    whole, masked = prepare(source), prepare(source, mask=mask)
    np.testing.assert_array_equal(masked(other), np.where(mask, whole(other), 0))
    every = whole(other, reduce="none")
    around = mask if len(shape) == 4 else mask[None]
    expected = np.where(around, every, 0)
    np.testing.assert_array_equal(masked(other, reduce="none"), expected)
    nowhere = prepare(source, mask=np.zeros(shape, bool))
    assert (nowhere(other) == 0).all()
    vectors = np.where(around, whole(other, reduce="offset"), 0)
    np.testing.assert_array_equal(masked(other, reduce="offset"), vectors)


def test_gradient_is_the_slope():
    generator = torch.Generator().manual_seed(0)
    source, other = torch.rand((2, 1, 8, 9), generator=generator, dtype=torch.float64).unbind()
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[:, :2] = False
    prepared = prepare(source[0], mask=mask[0], normalized=False)
    other = other[0].requires_grad_()
    mean = prepared(other).mean()
    (slope,) = torch.autograd.grad(mean, other)
    step = 1e-6 * torch.rand(other.shape, generator=generator, dtype=torch.float64)
    with torch.enable_grad():
        more, less = (prepared(other + sign * step).mean() for sign in (1, -1))
    torch.testing.assert_close((more - less) / 2, (slope * step).sum(), rtol=1e-4, atol=0)
    with torch.no_grad():
        assert not prepared(other).requires_grad
    torch.testing.assert_close(prepared(other).float(), prepared(other.detach()), rtol=0, atol=1e-5)
