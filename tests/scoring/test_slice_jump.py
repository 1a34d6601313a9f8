"""The jump between slices against a loop over voxels."""

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import Volume
from chiasm.scoring.slices import slice_jump

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


def test_a_head_in_one_slice_has_no_jump():
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 4] = True
    with pytest.raises(CaseError, match="no two neighbours along axis 2"):
        slice_jump(Volume(np.ones(SHAPE), np.eye(4)), mask, 2)
