"""The refinement iterations of a regression, against the same iterations by hand."""

import numpy as np
import pytest
import torch

from chiasm import models
from chiasm.augment.contrast import intensity_map
from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings, prepare
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.methods.regression import METHOD
from chiasm.methods.regression.intensity_mapping import measured_mapping
from chiasm.methods.regression.translator import Regression
from chiasm.models import Model, ModelConfig

CONFIG = ModelConfig(
    kind="translator",
    method="regression",
    target="T1w",
    grid=GridSettings(spacing=(2.0, 2.0, None)),
    network={"name": "unet", "arguments": {"features": [4, 4, 8, 8, 8, 4], "norm": "batch"}},
    settings={
        "guides": [{"name": "source"}],
        "intensity_mapping": {"nodes": 9, "iterations": 3},
    },
    intensity=IntensityMap(low=0, high=1),
)


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    array = np.zeros((40, 36, 6), dtype=np.float32)
    array[4:36, 4:32] = rng.random((32, 28, 6)) + 0.1
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]), modality="PDw")


def translator(tmp_path, batch=8, **options):
    torch.manual_seed(0)
    model = Model("tiny", tmp_path, CONFIG)
    model.__dict__["module"] = models.build(CONFIG).eval().requires_grad_(False)
    return Regression(model, METHOD.check(options), Resources(batch=batch))


@pytest.mark.parametrize("iterations", [1, 2, None])
def test_iterations_are_those_by_hand(tmp_path, volume, iterations):
    mask = volume.array > 0
    own = translator(tmp_path, iterations=iterations, batch=4)
    result = own.translate(volume, mask)
    module = own.model.module
    prepared = prepare(
        volume, CONFIG.grid, CONFIG.context, divisible_by=module.divisible_by, mask=mask
    )
    source = torch.from_numpy(prepared.samples())
    head = torch.from_numpy(CONFIG.context.samples(prepared.foreground))
    mapped = torch.full_like(source, 0.5)
    for _ in range(iterations or 3):
        both = torch.cat([source, mapped], dim=1) * 2 - 1
        made = module.network(both, None).clamp(0, 1)
        curve = measured_mapping(source[head][None], made[head][None], 9)
        mapped = intensity_map(source, curve.expand(len(source), -1))
    expected = prepared.restore(made.numpy(), IntensityMap(low=0, high=1), "T1w")
    np.testing.assert_allclose(result.volume.array, expected.array, atol=1e-5)
    assert result.record["iterations"] == (iterations or 3)


def test_an_iteration_changes_the_result(tmp_path, volume):
    once, twice = (
        translator(tmp_path, iterations=number).translate(volume).volume.array for number in (1, 2)
    )
    assert np.abs(once - twice).max() > 1e-3
