"""Bias, slices and noise against what theory says of them."""

import numpy as np
import pytest

from chiasm.phantom.artefacts import bias_field, rician, thick_slices


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
