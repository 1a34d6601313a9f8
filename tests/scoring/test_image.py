"""Masked MAE, PSNR and SSIM against analytic answers, NumPy and scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from chiasm.errors import CaseError
from chiasm.image.volume import Volume
from chiasm.scoring import ImageScores, image_scores

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


@pytest.fixture
def pair():
    """A textured image and a noisy copy of it."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.add.outer(np.arange(18.0), np.arange(20.0)), np.arange(22.0))
    truth = 100 + 10 * ramp + rng.normal(0, 5, ramp.shape)
    return Volume(truth + rng.normal(0, 20, truth.shape), AFFINE), Volume(truth, AFFINE)


@pytest.fixture
def mask(pair):
    return np.random.default_rng(1).random(pair[1].shape) < 0.4


def slow_ssim(a, b, data_range):
    """Equation 13 of Wang et al. 2004 at every voxel, windows mirrored at the border."""
    radius = 5
    profile = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * 1.5**2))
    weights = profile
    for _ in range(a.ndim - 1):
        weights = np.multiply.outer(weights, profile)
    weights = weights / weights.sum()
    windows = np.lib.stride_tricks.sliding_window_view
    a, b = (windows(np.pad(x, radius, mode="symmetric"), weights.shape) for x in (a, b))
    axes = tuple(range(-weights.ndim, 0))

    def mean(x):
        return (weights * x).sum(axes)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )


def test_constant_offset_has_the_known_mae_and_psnr():
    # 0, 1, ..., 1000 in equal numbers: percentiles 0.5 and 99.5 are 5 and 995.
    truth = np.resize(np.random.default_rng(0).permutation(1001), (11, 13, 49)).astype(float)
    assert truth.size == 7 * 1001
    everywhere = np.ones(truth.shape, bool)
    scores = image_scores(Volume(truth - 9.9, AFFINE), Volume(truth, AFFINE), everywhere)
    assert scores.data_range == pytest.approx(990)
    assert scores.mae == pytest.approx(9.9, rel=1e-5)
    assert scores.psnr == pytest.approx(40, abs=1e-4)  # 20 log10(990 / 9.9)


def test_scores_are_those_of_the_voxels_inside_the_mask(pair, mask):
    pred, truth = pair
    scores = image_scores(pred, truth, mask)
    inside = [(float(p), float(t)) for p, t, m in zip(pred.array.flat, truth.array.flat, mask.flat,
                                                      strict=True) if m]  # fmt: skip
    low, high = np.percentile([t for _, t in inside], [0.5, 99.5])
    mean_square = sum((p - t) ** 2 for p, t in inside) / len(inside)
    assert scores.voxels == len(inside)
    assert scores.data_range == pytest.approx(high - low)
    assert scores.mae == pytest.approx(sum(abs(p - t) for p, t in inside) / len(inside))
    assert scores.psnr == pytest.approx(10 * np.log10((high - low) ** 2 / mean_square))
    power = sum(t**2 for _, t in inside) / len(inside)
    assert scores.nmse == pytest.approx(mean_square / power)
    assert scores.mask == "given"


def test_errors_outside_the_mask_do_not_count(pair, mask):
    pred, truth = pair
    wrong = np.where(mask, pred.array, pred.array + 1000)
    scores = image_scores(Volume(wrong, AFFINE), truth, mask)
    right = image_scores(pred, truth, mask)
    assert (scores.mae, scores.psnr) == (right.mae, right.psnr)


def test_ssim_is_the_definition_averaged_over_the_mask(pair, mask):
    pred, truth = pair
    scores = image_scores(pred, truth, mask)
    expected = slow_ssim(pred.array.astype(float), truth.array.astype(float), scores.data_range)
    assert scores.ssim == pytest.approx(expected[mask].mean(), abs=1e-9)
    assert scores.ssim_windows == "3D"


def test_ssim_equals_scikit_image_where_windows_fit(pair):
    pred, truth = pair
    interior = np.zeros(truth.shape, bool)
    interior[5:-5, 5:-5, 5:-5] = True  # scikit-image leaves out half a window at each border
    scores = image_scores(pred, truth, interior)
    expected = structural_similarity(
        truth.array.astype(float), pred.array.astype(float), data_range=scores.data_range,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert scores.ssim == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slices", [1, 4])
def test_thin_volumes_are_scored_slice_by_slice(pair, axis, slices):
    pred, truth = (
        Volume(np.moveaxis(np.moveaxis(v.array, axis, 0)[:slices], 0, axis), AFFINE) for v in pair
    )
    scores = image_scores(pred, truth, np.ones(truth.shape, bool))
    expected = np.mean([
        slow_ssim(np.take(pred.array, k, axis).astype(float),
                  np.take(truth.array, k, axis).astype(float), scores.data_range)
        for k in range(slices)
    ])  # fmt: skip
    assert scores.ssim == pytest.approx(expected, abs=1e-9)
    assert scores.ssim_windows == f"2D slices along axis {axis}"


def test_thick_volumes_are_scored_slice_by_slice_where_asked(pair, mask):
    pred, truth = pair
    scores = image_scores(pred, truth, mask, slice_axis=1)
    assert scores.ssim_windows == "2D slices along axis 1"
    total = 0.0
    for k in range(truth.shape[1]):
        _, similarity = structural_similarity(
            truth.array[:, k].astype(np.float64),
            pred.array[:, k].astype(np.float64),
            data_range=scores.data_range,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )
        total += similarity[mask[:, k]].sum()
    assert scores.ssim == pytest.approx(total / mask.sum())
    assert scores.psnr == image_scores(pred, truth, mask).psnr


def test_large_offsets_lose_no_precision(pair, mask):
    pred, truth = (v.array.round().astype(float) for v in pair)
    near = image_scores(Volume(pred, AFFINE), Volume(truth, AFFINE), mask)
    far = image_scores(Volume(pred + 2**20, AFFINE), Volume(truth + 2**20, AFFINE), mask)
    assert (far.mae, far.psnr) == pytest.approx((near.mae, near.psnr), rel=1e-9)


def test_equal_images_are_perfect_and_infinity_is_null_in_json(pair, mask):
    truth = pair[1]
    scores = image_scores(truth, truth, mask)
    assert (scores.mae, scores.psnr, scores.ssim) == (0, np.inf, pytest.approx(1))
    text = scores.model_dump_json()
    assert '"psnr":null' in text
    assert np.isnan(ImageScores.model_validate_json(text).psnr)


def test_default_mask_is_the_head_of_the_truth():
    from chiasm.image.foreground import foreground_mask

    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij"))
    head = np.linalg.norm(place, axis=0) < 0.7
    truth = Volume(head * rng.uniform(80, 120, head.shape), AFFINE)
    pred = Volume(truth.array + 5, AFFINE)
    scores = image_scores(pred, truth)
    assert scores.mask == "foreground of the truth"
    assert scores.voxels == foreground_mask(truth).sum() < head.size
    expected = image_scores(pred, truth, foreground_mask(truth))
    assert scores == expected.model_copy(update={"mask": "foreground of the truth"})


def test_units_are_those_of_the_truth(pair, mask):
    pred, truth = pair
    ct = Volume(truth.array, AFFINE, modality="CT")
    assert image_scores(pred, ct, mask).units == "HU"


def test_refusals(pair, mask):
    pred, truth = pair
    with pytest.raises(CaseError, match="no voxel inside"):
        image_scores(pred, truth, np.zeros(truth.shape, bool))
    with pytest.raises(CaseError, match="another shape"):
        image_scores(pred, truth, mask[:-1])
    with pytest.raises(CaseError, match="no contrast"):
        image_scores(pred, Volume(np.full(truth.shape, 7.0), AFFINE), mask)
    with pytest.raises(CaseError, match="another grid"):
        image_scores(Volume(pred.array, 2 * AFFINE), truth, mask)
    with pytest.raises(CaseError, match="another grid"):
        image_scores(Volume(pred.array[1:], AFFINE), truth, mask)
    small = Volume(truth.array[:6, :6], AFFINE)
    with pytest.raises(CaseError, match="too small"):
        image_scores(small, small, np.ones(small.shape, bool))
