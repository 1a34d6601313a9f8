"""Axial slices: where they lie, how they are spread, and how far neighbours jump."""

import numpy as np
import pytest

from chiasm.image.volume import LabelVolume, Volume
from chiasm.scoring.slices import axial_axis, spread, take

SAGITTAL = np.array([[0, 0, 2.0, -9], [3, 0, 0, 4], [0, -1.5, 0, 7], [0, 0, 0, 1]])


def volume(array, affine=None):
    return Volume(array, np.eye(4) if affine is None else affine)


def test_the_axial_axis_of_a_sagittal_scan():
    assert axial_axis(volume(np.ones((3, 4, 5)), SAGITTAL)) == 1
    assert axial_axis(volume(np.ones((3, 4, 5)))) == 2


def test_slices_keep_their_places_in_the_scanner():
    array = np.random.default_rng(0).random((4, 9, 5)).astype(np.float32)
    whole, which = volume(array, SAGITTAL), range(1, 9, 3)
    part = take(whole, 1, which)
    assert part.shape == (4, 3, 5)
    for new, old in enumerate(which):
        np.testing.assert_array_equal(part.array[:, new], array[:, old])
        np.testing.assert_allclose(part.affine @ [2, new, 3, 1], whole.affine @ [2, old, 3, 1])
    labels = take(LabelVolume(np.arange(9).reshape(1, 9, 1), np.eye(4)), 1, which)
    assert labels.array.ravel().tolist() == list(which)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 21, 50])
def test_slices_are_evenly_spread_over_the_head(count):
    mask = np.zeros((30, 2, 2), bool)
    mask[5:25] = True
    which = spread(mask, 0, count)
    assert len(which) == min(count, 20)
    assert which.step == 20 // len(which)
    before, after = which[0] - 5, 24 - which[-1]
    assert min(before, after) >= 0
    assert abs(before - after) <= 1
