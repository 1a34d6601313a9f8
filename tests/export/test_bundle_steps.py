"""The steps of a bundle before the network, against those of Chiasm."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from chiasm.export.bundle_steps import to_network
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings, prepare
from chiasm.image.volume import Volume

AFFINE = np.array([[0, -1.5, 0, 20], [0.8, 0, 0, -9], [0, 0, 3, 4], [0, 0, 0, 1.0]])
PLACE = ([1.0, 1.0, 1.0], "RAS", 8, (0.5, 99.5))


def loaded(array):
    return {"image": MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(AFFINE))}


def test_the_network_sees_what_it_sees_in_chiasm():
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 30, 20)), indexing="ij")
    inside = sum(one**2 for one in at) < 0.7
    noise = np.random.default_rng(0).uniform(50, 200, inside.shape)
    array = np.where(inside, noise, 0).astype(np.float32)
    settings = GridSettings(spacing=(1.0, 1.0, 1.0))
    own = prepare(Volume(array, AFFINE), settings, Context(kind="3d"), divisible_by=8).image
    seen = to_network(loaded(array), *PLACE)["image"]
    assert seen.shape[1:] == own.shape
    np.testing.assert_allclose(seen[0], own, atol=1e-6)
    assert np.ptp(own) == 1


def test_a_scan_without_contrast_is_refused():
    array = np.zeros((20, 20, 20), np.float32)
    array[5:15, 5:15, 5:15] = 100
    with pytest.raises(ValueError, match="has no contrast; legal: a head"):
        to_network(loaded(array), *PLACE)
