"""Bias, slices and noise against what theory says of them."""

import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy import ndimage

from chiasm.phantom.artefacts import bias_field, motion, rician, ringing, thick_slices


def test_bias_keeps_within_its_strength_and_reaches_it():
    for seed in range(10):
        field = bias_field(np.random.default_rng(seed), (20, 24, 18), 0.2)
        assert np.abs(field - 1).max() == pytest.approx(0.2, abs=1e-6)
        assert field.dtype == np.float32


def test_bias_is_smooth():
    field = bias_field(np.random.default_rng(0), (60, 60, 60), 0.2)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.04


def test_bias_of_a_single_slice():
    assert bias_field(np.random.default_rng(0), (20, 24, 1), 0.2).shape == (20, 24, 1)


def test_noise_in_air_is_rayleigh():
    noise = rician(np.zeros((60, 60, 60), np.float32), 5.0, np.random.default_rng(1))
    assert noise.mean() == pytest.approx(5 * np.sqrt(np.pi / 2), rel=0.005)
    assert noise.std() == pytest.approx(5 * np.sqrt(2 - np.pi / 2), rel=0.01)


def test_noise_on_signal():
    # Second moment of a Rician variable: s² + 2σ²; far above the noise its spread is σ.
    noisy = rician(np.full((60, 60, 60), 100, np.float32), 5.0, np.random.default_rng(1))
    assert (noisy.astype(float) ** 2).mean() == pytest.approx(100**2 + 2 * 25, rel=1e-3)
    assert noisy.std() == pytest.approx(5, rel=0.01)


def test_thin_slices_change_nothing():
    image = np.random.default_rng(0).random((3, 3, 8), dtype=np.float32)
    assert (thick_slices(image, 2.0, 2.0, 0.3) == image).all()


def test_slice_of_three_voxels_by_hand():
    # Slices hold voxels 0–2 and 3–5; their centres are the voxels 1 and 4, the rest interpolated.
    line = np.array([0, 3, 6, 6, 12, 18], np.float32).reshape(1, 1, 6)
    expected = [3, 3, 6, 9, 12, 12]
    assert thick_slices(line, 1.0, 3.0) == pytest.approx(np.reshape(expected, (1, 1, 6)), abs=1e-5)


def test_slices_across_voxels():
    # Slices of 1.5 voxels: the first is voxel 0 (at 0.5 mm) and half of voxel 1 (at 1.5 mm).
    line = np.array([3, 6, 12], np.float32).reshape(1, 1, 3)
    slices = [(3 + 0.5 * 6) / 1.5, (0.5 * 6 + 12) / 1.5]
    centres = [(0.5 + 0.5 * 1.5) / 1.5, (0.5 * 1.5 + 2.5) / 1.5]
    expected = np.interp([0.5, 1.5, 2.5], centres, slices).reshape(1, 1, 3)
    assert thick_slices(line, 1.0, 1.5) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("offset", [0.0, 0.37, 0.99])
def test_slices_keep_a_constant_and_a_slope(offset):
    flat = np.full((2, 2, 40), 7, np.float32)
    assert thick_slices(flat, 1.0, 3.7, offset) == pytest.approx(flat, rel=1e-5)
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 1, 40))
    inner = slice(4, 36)
    assert thick_slices(ramp, 1.0, 3.7, offset)[..., inner] == pytest.approx(
        ramp[..., inner], abs=1e-4
    )


def test_bias_is_numpys_series_of_legendre_polynomials():
    shape = (5, 7, 6)
    rng = np.random.default_rng(2)
    field = bias_field(np.random.default_rng(2), shape, 0.3)
    coefficients = rng.standard_normal((4, 4, 4))
    degree = np.indices((4, 4, 4)).sum(0)
    coefficients = np.where((degree == 0) | (degree > 3), 0, coefficients / np.maximum(degree, 1))
    expected = legendre.leggrid3d(*(np.linspace(-1, 1, n) for n in shape), coefficients)
    np.testing.assert_allclose(field, 1 + 0.3 * expected / np.abs(expected).max(), atol=1e-6)


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    return ndimage.gaussian_filter(rng.random((12, 20, 15)), 1.5).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_no_ringing_if_every_frequency_is_acquired(image, axis):
    np.testing.assert_allclose(ringing(image, axis, 1.0), image, atol=1e-6)


def test_ringing_keeps_a_wave_that_is_acquired_and_removes_one_that_is_not():
    at = np.arange(40)
    slow, fast = np.cos(2 * np.pi * at * 4 / 40), np.cos(2 * np.pi * at * 16 / 40)
    line = (3 + slow + fast).astype(np.float32).reshape(1, 40)
    np.testing.assert_allclose(ringing(line, 1, 0.5)[0], 3 + slow, atol=1e-5)


def test_an_edge_overshoots_by_nine_percent():
    """Gibbs: beside a step of height 1, the largest overshoot is 0.0895."""
    line = np.zeros((1, 4096), np.float32)
    line[0, 1024:3072] = 1
    line += 1  # the magnitude of a positive image is the image
    assert ringing(line, 1, 0.05).max() == pytest.approx(2.0895, abs=2e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_movement_before_the_acquisition_moves_the_image_and_one_after_it_nothing(image, axis):
    moved = motion(image, axis, 3, 0.0, np.random.default_rng(0))
    either = [np.abs(moved - np.roll(image, step, axis)).max() for step in (-3, 3)]
    assert min(either) < 1e-5
    assert max(either) > 1e-2
    still = motion(image, axis, 3, 1.1, np.random.default_rng(0))
    np.testing.assert_allclose(still, image, atol=1e-5)


def test_ghosts_are_weaker_the_later_the_movement(image):
    ghosts = [
        np.abs(motion(image, 1, 2.0, start, np.random.default_rng(0)) - image).mean()
        for start in (0.55, 0.7, 0.85, 0.95)
    ]
    assert ghosts == sorted(ghosts, reverse=True)
    assert ghosts[0] > 10 * ghosts[-1]
