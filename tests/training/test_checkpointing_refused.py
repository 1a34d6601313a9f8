"""Gradient checkpointing is refused for a network that has no block to recompute."""

import nibabel as nib
import numpy as np
import pytest
from torch import nn

from chiasm.errors import UsageError
from chiasm.registry import NETWORKS
from chiasm.training.fit import train
from chiasm.training.settings import training_settings


class Plain(nn.Conv2d):
    divisible_by = 1

    def forward(self, x, t=None):
        return super().forward(x)


@pytest.fixture
def plain():
    NETWORKS.add("plain", lambda dims, before, after: Plain(before, after, 3, padding=1), "Plain.")
    yield "plain"
    NETWORKS.remove("plain")


def test_checkpointing_that_would_change_nothing(tmp_path, plain):
    for number in range(3):
        path = tmp_path / "bids" / f"sub-{number}" / f"sub-{number}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        array = np.random.default_rng(number).uniform(1, 9, (24, 28, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 4, 1])), path)
    told = (f"network={{name: {plain}}}", "checkpointing=true", "batch=2", "iterations=1")
    settings = training_settings("regression", "T1w", None, told)
    with pytest.raises(UsageError, match=r"checkpointing True: would change nothing.*regression"):
        train(tmp_path / "bids", tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
