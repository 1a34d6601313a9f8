"""The random numbers of a training depend on its seed, on the step and on what they are for."""

from itertools import product

import torch

from chiasm.training.module import _generator


def draws(*key):
    return tuple(torch.rand(4, generator=_generator(*key)).tolist())


def test_every_seed_step_and_stream_has_its_own_numbers():
    keys = list(product((0, 1, 7, 2**30 - 1), (1, 2), (0, 1, 5000)))
    assert len({draws(*key) for key in keys}) == len(keys)


def test_the_same_key_gives_the_same_numbers():
    assert draws(3, 1, 9) == draws(3, 1, 9)
