"""Each of several processes draws its own share of every batch, with its own random numbers."""

import itertools

import pytest
import torch

from chiasm.errors import UsageError
from chiasm.training.data import Batches
from chiasm.training.module import TrainingModule
from chiasm.training.settings import TrainingSettings
from chiasm.training.several_devices import Process, check_devices, this_process

SETTINGS = TrainingSettings(method="regression", iterations=5, batch=6, seed=3)


class Noted:
    """Samples that note what they are asked for."""

    def __init__(self):
        self.asked = []

    def batch(self, size, draw, augmentation):
        self.asked.append((size, draw))


class Objective:
    settings, module = SETTINGS, None


def test_shares_of_a_batch():
    every = []
    for rank in range(3):
        samples = Noted()
        list(Batches(samples, SETTINGS, lambda: 2, Process(rank, 3)))
        assert [size for size, _ in samples.asked] == [2, 2, 2]
        assert [draw[1] for _, draw in samples.asked] == [2, 3, 4]
        every.append([draw for _, draw in samples.asked])
    assert len({*itertools.chain(*every)}) == 9
    alone = Noted()
    list(Batches(alone, SETTINGS, lambda: 2))
    assert alone.asked == [(6, (3, step)) for step in (2, 3, 4)]
    assert every[0] == [draw for _, draw in alone.asked]


def test_random_numbers_of_each_process():
    drawn = []
    for process in (None, Process(0, 2), Process(1, 2)):
        module = TrainingModule(Objective(), process)
        drawn.append(torch.rand(4, generator=module._draws()))
    torch.testing.assert_close(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_number_of_a_process_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert this_process(2) == Process(1, 2)
    assert not this_process(2).is_first
    assert this_process(1) == Process(0, 1)
    monkeypatch.delenv("LOCAL_RANK")
    assert this_process(2).is_first


@pytest.mark.parametrize(
    ("count", "batch", "device", "said"),
    [
        (0, 8, "cpu", "--devices 0: is not legal; legal: at least 1"),
        (3, 8, "cpu", "--devices 3: cannot share a batch of 8 equally; legal: a divisor of batch"),
        (2, 8, "cuda:1", "--devices 2: contradicts --device cuda:1"),
        (10**6, 10**6, "cuda", "is more than this machine has"),
    ],
)
def test_devices_that_are_refused(count, batch, device, said):
    with pytest.raises(UsageError) as error:
        check_devices(count, batch, torch.device(device))
    assert said in str(error.value)
    check_devices(1, 7, torch.device(device))
    check_devices(2, 8, torch.device("cpu"))
