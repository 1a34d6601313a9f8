"""Samples of a volume, and the volume of samples."""

import numpy as np
import pytest

from chiasm.image.context import Context


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_there_and_back(kind):
    volume = np.random.default_rng(0).random((4, 5, 6))
    context = Context(kind=kind)
    samples = context.samples(volume)
    assert samples.shape == {"2d": (6, 1, 4, 5), "3d": (1, 1, 4, 5, 6)}[kind]
    np.testing.assert_array_equal(context.volume(samples), volume)


def test_neighbours_are_channels_and_repeat_at_the_ends():
    volume = np.arange(5.0) * np.ones((2, 3, 1))
    samples = Context(kind="2.5d", neighbours=2).samples(volume)
    assert samples.shape == (5, 5, 2, 3)
    assert samples[0, :, 0, 0].tolist() == [0, 0, 0, 1, 2]
    assert samples[3, :, 0, 0].tolist() == [1, 2, 3, 4, 4]


def test_neighbours_without_2_5d_are_refused():
    with pytest.raises(ValueError, match="neighbours"):
        Context(kind="2d", neighbours=1)
