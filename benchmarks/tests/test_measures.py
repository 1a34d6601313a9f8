"""How much slices differ from each other, on images where that is known."""

import numpy as np
import pytest
from scipy import ndimage

from chiasm.errors import CaseError
from chiasm.image.volume import Volume
from measures import slice_anisotropy

SHAPE = (7, 8, 9)


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
    with pytest.raises(CaseError, match="constant in the foreground"):
        slice_anisotropy(Volume(np.ones(SHAPE), np.eye(4)), head, 2)
    stacked = np.zeros(SHAPE) + np.arange(SHAPE[2])
    assert slice_anisotropy(Volume(stacked, np.eye(4)), head, 2) == np.inf
    assert slice_anisotropy(Volume(stacked, np.eye(4)), head, 0) == 0
