"""Quantile bins: the ranks of an image, and the scores, against plain ranks."""

import numpy as np
import pytest
import torch
from lmi_images import noise, pieces, smooth
from lmi_memory import peak_memory
from lmi_numpy import every_score
from scipy.stats import rankdata

from chiasm.errors import UsageError
from chiasm.lmi import LMISettings, local_mutual_information, prepare
from chiasm.lmi.definition import Definition, ranks
from chiasm.lmi.distribution import NODES, Distribution, by_own_distribution, not_background
from chiasm.lmi.torch_engine import TorchEngine

QUANTILE = {"binning": "quantile"}
SHAPES = {"2D": (12, 13), "3D": (4, 6, 7)}  # at most as many voxels as nodes
SMALL = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
RISING = {
    "affine": lambda x: 7 * x - 300,
    "cubic": lambda x: x**3 + 0.1 * x,
    "exponential": lambda x: np.exp(3 * x),
    "steps": lambda x: x + 5 * (x > 0.4) + 50 * (x > 0.8),
}


def of_rank(image, foreground, nodes=NODES):
    """`by_own_distribution` of one array."""
    tensors = torch.from_numpy(image)[None], torch.from_numpy(foreground)[None]
    return Distribution.of(*tensors, nodes)(tensors[0])[0].numpy()


def everywhere(image):
    return np.ones(image.shape, bool)


def brain(shape, seed):
    """A smooth image of tie-free grey values within a disc (a ball), on a background of 0."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.8
    return np.where(inside, 0.05 + 0.9 * smooth(shape, seed), 0).astype(np.float32), inside


# The definition.


def test_plain_ranks_are_those_of_scipy():
    image = noise((9, 8), 1).astype(float)
    foreground = noise((9, 8), 2) > 0.3
    expected = (rankdata(image[foreground]) - 1) / (foreground.sum() - 1)
    np.testing.assert_allclose(ranks(image, foreground)[foreground], expected, atol=1e-12)
    tied = pieces((9, 8), 3).astype(float)
    expected = (rankdata(tied).reshape(tied.shape) - 1) / (tied.size - 1)
    np.testing.assert_allclose(ranks(tied, everywhere(tied)), expected, atol=1e-12)


@pytest.mark.parametrize("change", RISING.values(), ids=RISING)
def test_plain_ranks_of_a_changed_contrast_are_the_same(change):
    image = noise((9, 8), 4).astype(float)
    before = ranks(image, everywhere(image))
    np.testing.assert_array_equal(ranks(change(image), everywhere(image)), before)
    np.testing.assert_allclose(ranks(-change(image), everywhere(image)), 1 - before, atol=1e-12)


@pytest.mark.parametrize("make", [noise, smooth, pieces])
@SMALL
def test_a_small_foreground_has_its_plain_ranks(shape, make):
    image, foreground = make(shape, 5).astype(float), noise(shape, 6) > 0.2
    assert foreground.sum() <= NODES
    np.testing.assert_allclose(of_rank(image, foreground), ranks(image, foreground), atol=1e-12)


@pytest.mark.parametrize("make", [noise, smooth])
def test_nodes_are_as_far_from_plain_ranks_as_each_other(make):
    image = make((70, 80), 7).astype(float)
    difference = of_rank(image, everywhere(image), 32) - ranks(image, everywhere(image))
    assert 1e-3 < np.abs(difference).max() < 1 / 31


def test_ties_of_a_large_image_share_their_mean_rank():
    image, foreground = pieces((70, 80), 8).astype(float), noise((70, 80), 9) > 0.2
    np.testing.assert_allclose(of_rank(image, foreground), ranks(image, foreground), atol=1e-12)


def test_a_rank_of_many_voxels_is_not_rounded():
    """float32 numbers end at 2²⁴ without gaps; the ranks of a large volume reach beyond."""
    count = 2**24 + 12345
    images = torch.arange(count, dtype=torch.int32).float()[None]
    found = Distribution.of(images, torch.ones_like(images, dtype=torch.bool))
    expected = torch.linspace(0, 1, NODES, dtype=torch.float64)
    torch.testing.assert_close(found.levels[0].double(), expected, atol=1e-6, rtol=0)


# The foreground.


def test_the_background_is_the_smallest_value_of_several_voxels():
    image, inside = brain((20, 22), 10)
    np.testing.assert_array_equal(not_background(torch.from_numpy(image)[None])[0], inside)
    free = torch.from_numpy(noise((20, 22), 11))[None]
    assert not_background(free).all()
    assert not not_background(torch.full((2, 5, 6), 0.7)).any()


def test_a_large_background_does_not_take_the_range():
    image, inside = brain((20, 22), 12)
    wide = np.pad(image, 60)
    mapped = of_rank(wide, not_background(torch.from_numpy(wide)[None])[0].numpy())
    np.testing.assert_allclose(mapped[60:-60, 60:-60], of_rank(image, inside), atol=1e-6)
    assert mapped[0, 0] == 0
    values = np.sort(mapped[np.pad(inside, 60)])
    np.testing.assert_allclose(values, np.linspace(0, 1, values.size), atol=1 / NODES)


def test_values_beyond_the_foreground_are_0_and_1():
    image = np.array([[-3.0, 1, 2, 3, 9]])
    mapped = of_rank(image, (image > 0) & (image < 5))
    np.testing.assert_allclose(mapped, [[0, 0, 0.5, 1, 1]])


CONSTANT = {
    "constant": (np.full((6, 7), 0.3, np.float32), np.ones((6, 7), bool), 0.5),
    "one voxel": (noise((6, 7), 13), np.arange(42).reshape(6, 7) == 20, None),
    "no foreground": (noise((6, 7), 14), np.zeros((6, 7), bool), 0),
    "infinite": (np.float32([[-np.inf, 0, 1, np.inf]]), np.ones((1, 4), bool), None),
}


@pytest.mark.parametrize(("image", "foreground", "value"), CONSTANT.values(), ids=CONSTANT)
def test_degenerate_foregrounds_have_finite_ranks(image, foreground, value):
    expected = ranks(image, foreground) if np.isfinite(image).all() else [[0, 1 / 3, 2 / 3, 1]]
    images = torch.from_numpy(image)[None].requires_grad_()
    mapped = by_own_distribution(images, torch.from_numpy(foreground)[None])
    np.testing.assert_allclose(mapped[0].detach(), expected, atol=1e-6)
    if value is not None:
        assert (mapped == value).all()
    (slope,) = torch.autograd.grad(mapped.sum(), images)
    assert slope.isfinite().all()


@pytest.mark.parametrize("mask", [None, np.zeros((9, 10), bool), np.eye(9, 10) > 0])
@pytest.mark.parametrize("constant", [0.0, 0.4, 1.0])
def test_constant_images_score_0(constant, mask):
    flat, varied = np.full((9, 10), constant, np.float32), noise((9, 10), 15)
    for source, other in ((flat, varied), (varied, flat), (flat, flat)):
        assert (local_mutual_information(source, other, mask=mask, **QUANTILE) == 0).all()


# The scores.


@SMALL
def test_scores_are_those_of_plain_ranks(shape):
    source, other = noise(shape, 16), 30 * smooth(shape, 17) - 4
    mapped = [ranks(image, everywhere(image)) for image in (source, other)]
    expected = every_score(*mapped, bins=9, bandwidth=0.1)
    prepared = prepare(source, bins=9, bandwidth=0.1, **QUANTILE)
    np.testing.assert_allclose(prepared(other, reduce="none"), expected, atol=1e-5)
    np.testing.assert_allclose(prepared(other), expected.max(0), atol=1e-5)


@SMALL
def test_a_mask_is_the_foreground_of_both_images(shape):
    (source, inside), (other, _) = brain(shape, 18), brain(shape, 19)
    mapped = [ranks(image, inside) for image in (source, other)]
    expected = every_score(*mapped, bins=9, bandwidth=0.1).max(0)
    settings = {"bins": 9, "bandwidth": 0.1, **QUANTILE}
    plain = local_mutual_information(source, other, **settings)
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    masked = local_mutual_information(source, other, mask=inside, **settings)
    np.testing.assert_allclose(masked, np.where(inside, expected, 0), atol=1e-5)
    wide = [np.pad(image, 9) for image in (source, other, inside)]  # the box around the mask
    inner = tuple(slice(9, -9) for _ in shape)
    again = local_mutual_information(*wide[:2], mask=wide[2], **settings)[inner]
    np.testing.assert_allclose(again, masked, atol=1e-5)


@pytest.mark.parametrize("change", RISING.values(), ids=RISING)
@SMALL
def test_scores_do_not_depend_on_a_rising_contrast(shape, change):
    (source, _), (other, _) = brain(shape, 20), brain(shape, 21)
    changed = [change(image.astype(np.float64)) for image in (source, other)]
    before = local_mutual_information(source, other, **QUANTILE)
    after = local_mutual_information(*changed, **QUANTILE)
    np.testing.assert_allclose(after, before, atol=1e-5)
    if change in (RISING["cubic"], RISING["exponential"]):
        unlike = local_mutual_information(source, other) - local_mutual_information(*changed)
        assert np.abs(unlike).mean() > 0.02


@SMALL
def test_scores_do_not_depend_on_a_falling_contrast(shape):
    """On an image without background, or where the mask makes the background one end too."""
    source, other = (image.astype(np.float64) for image in (noise(shape, 22), smooth(shape, 23)))
    before = local_mutual_information(source, other, **QUANTILE)
    after = local_mutual_information(np.exp(-2 * source), -other, **QUANTILE)
    np.testing.assert_allclose(after, before, atol=1e-5)
    source, inside = brain(shape, 24)
    before = local_mutual_information(source, source, mask=inside, **QUANTILE)
    after = local_mutual_information(1 - source, source, mask=inside, **QUANTILE)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_scores_of_a_large_image_depend_little_on_contrast():
    source, other = smooth((90, 100), 25), smooth((90, 100), 26)
    before = local_mutual_information(source, other, **QUANTILE)
    after = local_mutual_information(np.exp(3 * source), other**3, **QUANTILE)
    assert np.abs(after - before).max() < 0.02
    assert np.abs(after - before).mean() < 1e-3


@pytest.mark.parametrize("shape", [(12, 13), (40, 41), (9, 10, 11)])
def test_a_uniform_image_scores_the_same_with_uniform_bins(shape):
    size = np.prod(shape)
    source, other = (
        np.random.default_rng(seed).permutation(np.linspace(0, 1, size)).reshape(shape)
        for seed in (27, 28)
    )
    uniform = local_mutual_information(source, other)
    quantile = local_mutual_information(source, other, **QUANTILE)
    np.testing.assert_allclose(quantile, uniform, atol=2e-5)


def test_uniform_bins_are_the_default_and_read_intensities():
    source, other = noise((9, 10), 29), noise((9, 10), 30)
    assert LMISettings().binning == "uniform"
    expected = local_mutual_information(source, other)
    named = local_mutual_information(source, other, binning="uniform")
    np.testing.assert_array_equal(named, expected)
    assert np.abs(local_mutual_information(source**2, other) - expected).max() > 0.01


def test_each_image_of_a_batch_has_its_own_distribution():
    images = np.stack([brain((14, 15), seed)[0] for seed in (31, 32, 33)])[:, None]
    images[1] *= 0.1
    images[2] = 0
    other = np.stack([smooth((14, 15), seed) for seed in (34, 35, 36)])[:, None]
    together = local_mutual_information(images, other, **QUANTILE)
    for k in range(3):
        alone = local_mutual_information(images[k, 0], other[k, 0], **QUANTILE)
        np.testing.assert_allclose(together[k, 0], alone, atol=1e-6)


def test_the_best_offset_is_that_of_the_ranks():
    source = noise((12, 14), 37)
    moved = np.exp(2 * np.roll(source, (1, -1), (0, 1)))
    found = prepare(source, **QUANTILE)(moved, reduce="offset")
    inner = found[:, 2:-2, 2:-2]
    np.testing.assert_array_equal(inner, np.broadcast_to([[[1]], [[-1]]], inner.shape))


@pytest.mark.parametrize(
    "settings", [{}, {"patch_size": 17, "search_size": 1}, {"bandwidth": 0.3 / 26}]
)
def test_every_engine_is_given_the_ranks(settings):
    """numba's, torch's (large patches) and the definition (narrow kernels)."""
    source, other = noise((1, 1, 12, 13), 38), 5 * noise((1, 1, 12, 13), 39)
    first, second = (torch.from_numpy(image[0]) for image in (source, other))
    everything = torch.ones_like(first, dtype=torch.bool)
    mapped = [by_own_distribution(image, everything) for image in (first, second)]
    expected = Definition(mapped[0], LMISettings(**settings))(mapped[1], False)
    found = local_mutual_information(source, other, **settings, **QUANTILE)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_unknown_binning_is_refused():
    with pytest.raises(UsageError, match=r"^binning equal: .*uniform, quantile"):
        local_mutual_information(noise((6, 7), 40), noise((6, 7), 41), binning="equal")


# The gradient.


@pytest.mark.parametrize("nodes", [7, NODES])
@SMALL
def test_the_slope_is_that_of_the_map_with_its_nodes_held_fixed(shape, nodes):
    image = torch.from_numpy(noise(shape, 42)).double()[None]
    fixed = Distribution.of(image, torch.ones_like(image, dtype=torch.bool), nodes)
    between = torch.from_numpy(noise(shape, 43)).double()[None].requires_grad_()
    assert torch.autograd.gradcheck(fixed, between, eps=1e-8, atol=1e-3)
    outside = (between < fixed.nodes.min()) | (between > fixed.nodes.max())
    (slope,) = torch.autograd.grad(fixed(between).sum(), between)
    assert (slope[outside] == 0).all()
    assert (slope[~outside] > 0).all()


@pytest.mark.parametrize("search_size", [1, 3])
@SMALL
def test_the_gradient_is_that_of_finite_differences(shape, search_size):
    """With the distribution of ``other`` held fixed."""
    settings = {"search_size": search_size, "bins": 9, "bandwidth": 0.1}
    source, other = (torch.from_numpy(noise(shape, seed)).double()[None] for seed in (44, 45))
    # The nodes are not values of ``other``, so that no finite difference crosses one.
    base = torch.linspace(-0.3, 1.3, 40, dtype=torch.float64).view(1, 5, 8)
    fixed = Distribution.of(base, torch.ones_like(base, dtype=torch.bool))
    engine = TorchEngine(
        by_own_distribution(source, not_background(source)), LMISettings(**settings), 2**28
    )

    def score(image):
        return engine(fixed(image), False).mean()

    assert torch.autograd.gradcheck(score, other.clone().requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("search_size", [1, 3])
def test_the_gradient_of_the_operator_holds_the_distribution_fixed(dtype, search_size):
    """By the chain rule: that of the engine by the rank, times the slope of the map."""
    shape, settings = (1, 1, 12, 13), {"search_size": search_size, "bins": 9, "bandwidth": 0.1}
    source, other = (torch.from_numpy(noise(shape, seed)).to(dtype) for seed in (46, 47))
    image = other.clone().requires_grad_()
    (found,) = torch.autograd.grad(prepare(source, **settings, **QUANTILE)(image).mean(), image)
    everything = torch.ones_like(other, dtype=torch.bool)
    mapped = by_own_distribution(other, everything).requires_grad_()
    plain = prepare(by_own_distribution(source, everything), **settings)
    (by_rank,) = torch.autograd.grad(plain(mapped).mean(), mapped)
    image = other.clone().requires_grad_()
    (slope,) = torch.autograd.grad(by_own_distribution(image, everything).sum(), image)
    torch.testing.assert_close(found, by_rank * slope, rtol=1e-4, atol=1e-7)
    assert found.abs().max() > 1e-4


def test_following_the_gradient_raises_the_score():
    source, inside = (x[None, None] for x in brain((24, 25), 48))
    generator = torch.Generator().manual_seed(49)
    source, mask = torch.from_numpy(source), torch.from_numpy(inside)
    agreement = prepare(source, mask=mask, search_size=1, bins=11, bandwidth=0.1, **QUANTILE)
    start = (1 - source + 0.2 * torch.randn(source.shape, generator=generator)) * mask
    image = start.clone()
    for _ in range(20):
        image.requires_grad_()
        (step,) = torch.autograd.grad(agreement(image * mask).sum(), image)
        image = (image + 0.01 * step / step.square().mean().sqrt()).detach()
    assert agreement(image).sum() > 1.1 * agreement(start).sum()


def test_memory_of_the_map_is_what_is_documented():
    images = torch.from_numpy(noise((1, 300, 301), 50)).double().requires_grad_()
    inside = torch.ones_like(images, dtype=torch.bool)
    peak, _ = peak_memory(lambda: by_own_distribution(images, inside).sum().backward())
    assert peak < 100 * images.numel()
