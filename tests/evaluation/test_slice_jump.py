"""The jump between slices against a loop over voxels, and against images whose jump is known."""

import numpy as np
import pytest
from scipy import ndimage

from chiasm.errors import CaseError
from chiasm.evaluation.slices import slice_anisotropy, slice_jump, slice_jump_ratio
from chiasm.volume import Volume

SHAPE = (7, 8, 9)
PERMUTED = np.array([[0, -2.0, 0, 0], [0, 0, 3, 0], [4, 0, 0, 0], [0, 0, 0, 1]])  # axis 0 is S


@pytest.fixture
def mask():
    return np.random.default_rng(0).random(SHAPE) < 0.6


def slow_jump(array, mask, axis):
    found = []
    for index in np.ndindex(array.shape):
        following = tuple(n + (k == axis) for k, n in enumerate(index))
        if following[axis] < array.shape[axis] and mask[index] and mask[following]:
            found.append(abs(array[following] - array[index]))
    return np.mean(found)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_jump_is_the_mean_over_neighbours_in_the_mask(axis, mask):
    array = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    found = slice_jump(Volume(array, np.eye(4)), mask, axis)
    assert found == pytest.approx(slow_jump(array, mask, axis), rel=1e-6)


def test_the_ratio_tells_flicker_from_anatomy(mask):
    """A ramp along the slices, and the same with every other slice one step brighter."""
    ramp = np.arange(40.0)[:, None, None] + np.zeros((40, 6, 5))
    flicker = ramp + 2 * (np.arange(40) % 2)[:, None, None]
    head = np.ones(ramp.shape, bool)
    real, result = (Volume(one, PERMUTED, modality="T1w") for one in (ramp, flicker))
    assert slice_jump_ratio(real, real, head) == pytest.approx(1)
    # The scale of MR intensities is arbitrary.
    louder = real.with_array(3 * ramp + 50)
    assert slice_jump_ratio(louder, real, head) == pytest.approx(1, rel=1e-4)
    # Steps of +3 and −1 against +1, on ranges of nearly the same width: twice.
    assert slice_jump_ratio(result, real, head) == pytest.approx(2, rel=0.06)
    assert slice_jump_ratio(result, real, head) == slice_jump_ratio(result, real, head, axis=0)
    with pytest.raises(CaseError, match="does not change along axis 1"):
        slice_jump_ratio(result, real, head, axis=1)


def test_a_head_in_one_slice_has_no_jump():
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 4] = True
    with pytest.raises(CaseError, match="no two neighbours along axis 2"):
        slice_jump(Volume(np.ones(SHAPE), np.eye(4)), mask, 2)


def test_anisotropy_sees_flicker_and_neither_scale_noise_nor_blur():
    draw = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(draw.normal(size=(32, 32, 32)), 2)
    head = np.ones(smooth.shape, bool)

    def found(array, axis=2):
        return slice_anisotropy(Volume(array, np.eye(4)), head, axis)

    assert found(5 * smooth + 3) == pytest.approx(found(smooth), rel=1e-9)
    for array in (smooth, ndimage.gaussian_filter(smooth, 2), draw.normal(size=smooth.shape)):
        assert found(array) == pytest.approx(1, rel=0.05)
    step = np.abs(np.diff(smooth, axis=2)).mean()
    # Every other slice brighter by ten steps of the anatomy: the anatomy's own hardly counts.
    assert found(smooth + 10 * step * (np.arange(32) % 2)) == pytest.approx(10, rel=0.1)


def test_anisotropy_without_contrast():
    head = np.ones(SHAPE, bool)
    with pytest.raises(CaseError, match="constant in the head"):
        slice_anisotropy(Volume(np.ones(SHAPE), np.eye(4)), head, 2)
    stacked = np.zeros(SHAPE) + np.arange(SHAPE[2])
    assert slice_anisotropy(Volume(stacked, np.eye(4)), head, 2) == np.inf
    assert slice_anisotropy(Volume(stacked, np.eye(4)), head, 0) == 0
