"""The differences between and within slices against a loop over voxels."""

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import Volume
from chiasm.scoring.slices import sharpness, slice_jump

SHAPE = (7, 8, 9)


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


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_sharpness_is_the_mean_over_neighbours_within_slices(axis, mask):
    array = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    found = sharpness(Volume(array, np.eye(4)), mask, axis)
    expected = [slow_jump(array, mask, k) for k in range(3) if k != axis]
    assert found == pytest.approx(np.mean(expected), rel=1e-6)


def test_blur_lowers_the_sharpness_and_the_slice_direction_does_not_count():
    steps = np.zeros(SHAPE, np.float32)
    steps[3:] = 1
    soft = np.clip((np.arange(SHAPE[0]) - 1) / 12, 0, 1)[:, None, None] * np.ones(SHAPE)
    whole = np.ones(SHAPE, bool)
    sharp, blurred = (sharpness(Volume(one, np.eye(4)), whole, 2) for one in (steps, soft))
    assert sharp == pytest.approx(1 / 12)  # one of six differences is 1, along one of two axes
    assert blurred < sharp
    assert sharpness(Volume(steps, np.eye(4)), whole, 0) == 0


def test_a_head_in_one_slice_has_no_jump():
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 4] = True
    with pytest.raises(CaseError, match="no two neighbours along axis 2"):
        slice_jump(Volume(np.ones(SHAPE), np.eye(4)), mask, 2)
