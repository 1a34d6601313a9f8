"""The network of a bundle, which takes volumes, against the translator that it was made from."""

import numpy as np
import pytest
import torch

from chiasm import models
from chiasm.export.step import Step
from chiasm.export.volume import of_volumes
from chiasm.export.write import _inputs, _traced
from chiasm.image.context import Context
from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings, prepare
from chiasm.image.volume import Volume
from chiasm.methods.load import load_translator

UNET = {"name": "unet", "arguments": {"features": [4, 4, 4, 4, 4, 4], "norm": "batch"}}
MAPPING = {"nodes": 9, "iterations": 3}


def saved(folder, context, **settings):
    config = models.ModelConfig(
        kind="translator",
        method="regression",
        target="T1w",
        grid=GridSettings(spacing=(1.0, 1.0, 1.0)),
        context=context,
        network=UNET,
        settings={"guides": [{"name": "source"}], **settings},
        intensity=IntensityMap(low=0, high=1, units="a.u.", background=0),
        quantiles=np.linspace(0, 1, 33).tolist(),
    )
    torch.manual_seed(3)
    module = models.build(config)
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
    models.save(folder, config, module, "# random weights\n")
    return folder


CASES = [
    (Context(), {}),
    (Context(kind="2.5d", neighbours=2), {"inference_planes": "orthogonal", "learn_error": True}),
    (Context(kind="2.5d", neighbours=1), {"inference_planes": "coronal"}),
    (Context(kind="2.5d", neighbours=1), {"inference_planes": "orthogonal",
                                          "intensity_mapping": MAPPING}),
    (Context(kind="3d"), {"learn_error": True}),
]  # fmt: skip


@pytest.mark.parametrize(("context", "settings"), CASES)
def test_it_gives_what_the_translator_gives(tmp_path, context, settings):
    folder = saved(tmp_path / "model", context, **settings)
    rng = np.random.default_rng(0)
    # Every voxel is foreground, and the network needs no padding.
    volume = Volume(rng.uniform(10, 90, (48, 48, 48)), np.eye(4), modality="T2w")
    mask = np.ones(volume.shape, bool)
    translator = load_translator(folder)
    made = translator.translate(volume, mask)
    model = models.load(folder, kind="translator")
    grid = model.config.grid
    seen = prepare(volume, grid, Context(kind="3d"), divisible_by=16, mask=mask).samples()[0, 0]
    step = Step(model)
    network = of_volumes(model, step, _traced(step, _inputs(model, step)))
    # A voxel of exactly 0 would count as air where the mapping is measured.
    unit = torch.from_numpy(np.where(seen > 0, seen, 1e-6))[None, None]
    with torch.no_grad():
        result = network(unit)[0].numpy()
    np.testing.assert_allclose(result[0], made.volume.array, atol=2e-4)
    if settings.get("learn_error"):
        np.testing.assert_allclose(result[1], made.expected_error.array, atol=2e-4)
    else:
        assert len(result) == 1
