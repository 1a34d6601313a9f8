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
from chiasm.methods.regression import translator as regression
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


def test_the_mapping_is_measured_once_in_a_few_slices(tmp_path, monkeypatch):
    """All planes share the mapping of the first plane, which is that of evenly spaced slices."""
    monkeypatch.setattr(regression, "_MEASURED", 3)
    array = np.zeros((40, 36, 22), dtype=np.float32)
    array[4:36, 4:32, 2:20] = np.random.default_rng(0).random((32, 28, 18)) + 0.1
    volume = Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]), modality="PDw")
    mask = volume.array > 0
    own = translator(tmp_path, planes="orthogonal", iterations=2, batch=4)
    told = []
    original = Regression.run

    def run(self, source, indices, on_step):
        told.append((indices, None if self.mapping is None else self.mapping.clone()))
        return original(self, source, indices, on_step)

    monkeypatch.setattr(Regression, "run", run)
    own.translate(volume, mask)
    prepared = prepare(
        volume, CONFIG.grid, CONFIG.context, divisible_by=own.model.module.divisible_by, mask=mask
    )
    inside = prepared.slice_indices()
    assert len(inside) == 18
    indices, mapping = told[0]
    assert indices == [inside[0], inside[8], inside[17]]
    assert mapping is None
    source = torch.from_numpy(prepared.samples())[indices]
    head = torch.from_numpy(CONFIG.context.samples(prepared.foreground))[indices]
    both = torch.cat([source, torch.full_like(source, 0.5)], dim=1) * 2 - 1
    made = own.model.module.network(both, None).clamp(0, 1)
    expected = measured_mapping(source[head][None], made[head][None], 9)
    assert len(told) > 3
    for _, mapping in told[1:]:
        torch.testing.assert_close(mapping, expected)
