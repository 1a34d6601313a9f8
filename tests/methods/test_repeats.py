"""Several samples: their moments against NumPy's, their seeds, and what each is drawn from."""

import numpy as np
import pytest
import torch

from chiasm.methods.repeats import RunningMoments, another_acquisition, sample_seed


def test_running_moments_are_those_of_the_stack():
    stack = np.random.default_rng(0).normal(1000, 1, (7, 3, 4)).astype(np.float32)
    moments = RunningMoments()
    for one in stack:
        moments.add(one)
    exact = stack.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.deviation, exact.std(0, ddof=1), rtol=1e-9)


def test_of_one_the_mean_is_itself_and_the_deviation_unknown():
    one = np.random.default_rng(0).random((5, 5), dtype=np.float32)
    moments = RunningMoments()
    moments.add(one)
    np.testing.assert_array_equal(moments.mean.astype(np.float32), one)
    assert np.isnan(moments.deviation).all()


def test_the_first_sample_has_the_runs_own_seed_and_no_two_share_one():
    assert [sample_seed(seed, 0) for seed in range(3)] == [0, 1, 2]
    drawn = {sample_seed(seed, index) for seed in range(5) for index in range(20)}
    assert len(drawn) == 100


def test_another_acquisition_is_one_of_the_whole_volume():
    source = torch.rand((3, 2, 16, 20), generator=torch.Generator().manual_seed(0))
    head = torch.zeros(source.shape, dtype=torch.bool)
    head[..., 3:12, 4:15] = True
    source = source * head
    again = another_acquisition(source, head, 5)
    assert torch.equal(again, another_acquisition(source, head, 5))
    assert not torch.equal(again, another_acquisition(source, head, 6))
    assert again.shape == source.shape
    assert (again[~head] == 0).all()
    assert again.min() == 0
    assert again.max() == 1
    # A dark slice stays darker than the others, as the percentiles are the volume's.
    source[1] *= 0.3
    means = another_acquisition(source, head, 5).sum(dim=(1, 2, 3))
    assert means[1] < 0.6 * means[[0, 2]].min()


def test_it_keeps_the_order_of_the_intensities():
    ramp = torch.linspace(0, 1, 4096).reshape(1, 1, 64, 64)
    again = another_acquisition(ramp, torch.ones_like(ramp, dtype=torch.bool), 2)
    assert np.corrcoef(again.ravel(), ramp.ravel())[0, 1] == pytest.approx(1, abs=0.1)
