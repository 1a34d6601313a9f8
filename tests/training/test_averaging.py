"""The average of the weights: what a short training keeps, and a long one."""

import pytest
import torch

from chiasm.training.fit import _average


def kept(decay, steps):
    """The share of the first weights after so many updates by others."""
    average, value = _average(decay), torch.ones(1)
    for count in range(1, steps + 1):
        value = average(value, torch.zeros(1), torch.tensor(count))
    return value.item()


def test_a_short_training_forgets_what_it_began_with():
    assert kept(0.995, 100) < 1e-6
    assert 0.995**100 > 0.6  # which a constant decay keeps


def test_in_the_long_run_the_decay_is_the_one_asked_for():
    average = _average(0.9)
    step = average(torch.ones(1), torch.zeros(1), torch.tensor(1000))
    assert step.item() == pytest.approx(0.9)


def test_what_does_not_change_stays_to_the_last_bit():
    value = torch.tensor([0.1])
    assert torch.equal(_average(0.995)(value, value.clone(), torch.tensor(7)), value)
