"""A frozen translation that guides a diffusion: the model keeps both networks."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY, dataset

import refine.translation_guide  # registers the guide  # noqa: F401
from chiasm import models
from chiasm.errors import UsageError
from chiasm.guides import guide_from_config
from chiasm.image.context import Context
from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings
from chiasm.training.fit import train
from chiasm.training.settings import training_settings

GRID = GridSettings(spacing=(2.0, 2.0, None))
SHARED = {
    "kind": "translator",
    "target": "T1w",
    "grid": GRID,
    "intensity": IntensityMap(low=0, high=1, units="a.u.", background=0),
}
UNET = {"name": "unet", "arguments": {"features": [8, 8, 8, 8, 8, 8], "norm": "batch"}}
DIFFUSION_UNET = {
    "name": "diffusion-unet",
    "arguments": {
        "channels": [8, 16],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "num_head_channels": 8,
        "norm_num_groups": 4,
    },
}
SOURCE = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(3))


def saved(folder, network, guides, shake=True, **changes):
    """A model of random weights and the folder that it was written to."""
    settings = changes.pop("settings", {}) | {"guides": guides}
    config = models.ModelConfig(network=network, settings=settings, **SHARED | changes)
    torch.manual_seed(1)
    module = models.build(config)
    for weight in module.network.parameters():
        if shake:  # MONAI begins with an output layer of zeros
            torch.nn.init.normal_(weight, std=0.2)
    complete = settings | {"guides": module.guides.record()}
    config = config.model_copy(update={"settings": complete})
    models.save(folder, config, module, "# random weights\n")
    return folder


@pytest.fixture
def regression(tmp_path):
    return saved(tmp_path / "first", UNET, [{"name": "source"}], method="regression")


def refiner(tmp_path, regression, **changes):
    guides = [{"name": "source"}, {"name": "translation", "model": str(regression)}]
    settings = {"method": "lmi-diffusion", "settings": {"diffusion": {"steps": 4}}} | changes
    return saved(tmp_path / "second", DIFFUSION_UNET, guides, **settings)


def test_the_folder_holds_both_networks(tmp_path, regression):
    """Read back without the first model, it does what the two do by hand, one after the other."""
    folder = refiner(tmp_path, regression)
    first = models.load(regression, kind="translator").module
    shutil.rmtree(regression)
    model = models.load(folder, kind="translator")
    second = model.module
    assert not any(weight.requires_grad for weight in second.parameters())
    assert second.divisible_by == first.divisible_by == 16
    with torch.no_grad():
        translated = first(SOURCE).clamp(0, 1) * 2 - 1
        x_t, time = torch.randn(SOURCE.shape), torch.tensor([700, 300])
        channels = second.conditioning(second.guides.prepare(SOURCE), x_t, time)
        torch.testing.assert_close(channels, torch.cat([SOURCE * 2 - 1, translated], dim=1))
        by_hand = second.network(torch.cat([x_t, SOURCE * 2 - 1, translated], dim=1), time)
        torch.testing.assert_close(second.bind(SOURCE)(x_t, time), by_hand)
    assert translated.std() > 0.003


def test_in_training_it_stays_frozen(tmp_path, regression):
    module = models.build(models.load(refiner(tmp_path, regression), kind="translator").config)
    module.train()
    before = {key: value.clone() for key, value in module.guides.state_dict().items()}
    assert any("running_mean" in key for key in before)
    module.guides.prepare(SOURCE, SOURCE.flip(0))
    for key, value in module.guides.state_dict().items():
        assert torch.equal(value, before[key]), key
    trained = [key for key, weight in module.named_parameters() if weight.requires_grad]
    assert trained
    assert not [key for key in trained if key.startswith("guides")]


def test_what_cannot_guide_is_refused(tmp_path, regression):
    plain = saved(
        tmp_path / "plain",
        DIFFUSION_UNET,
        [{"name": "source"}],
        method="lmi-diffusion",
        settings={"diffusion": {"steps": 2}},
    )
    guide = guide_from_config({"name": "translation", "model": str(plain)})
    with pytest.raises(UsageError, match="more than one step"):
        guide.check(GRID, Context())
    guide = guide_from_config({"name": "translation", "model": str(regression)})
    guide.check(GRID, Context())
    for grid, context in (
        (GridSettings(spacing=(1.0, 1.0, None)), Context()),
        (GRID, Context(kind="2.5d", neighbours=1)),
    ):
        with pytest.raises(UsageError, match="another lattice"):
            guide.check(grid, context)
    with pytest.raises(UsageError, match="is not a model"):
        guide_from_config({"name": "translation", "model": "nowhere"}).check(GRID, Context())


def test_weights_are_kept_once(tmp_path, regression):
    """Those of the first under the second's guides, to the last bit."""
    first = load_file(regression / models.WEIGHTS)
    second = load_file(refiner(tmp_path, regression) / models.WEIGHTS)
    inner = "guides.networks.0."
    kept = {key.removeprefix(inner): one for key, one in second.items() if key.startswith(inner)}
    assert kept.keys() == first.keys()
    assert all(torch.equal(kept[key], first[key]) for key in first)


def test_a_diffusion_is_trained_under_it(tmp_path):
    """The first model's weights stay as they were, and the second needs its folder no more."""
    subjects = dataset(tmp_path / "bids")
    first, second = tmp_path / "first", tmp_path / "second"
    guides = [{"name": "translation", "model": str(first)}]
    for out, method, own in (
        (first, "regression", {"network": UNET}),
        (second, "lmi-diffusion", {"network": DIFFUSION_UNET, "guides": guides}),
    ):
        told = tuple(f"{key}={json.dumps(value)}" for key, value in (TINY | own).items())
        train(subjects, out, training_settings(method, "T1w", None, told))
    before, after = (load_file(folder / models.WEIGHTS) for folder in (first, second))
    for key, value in before.items():
        assert torch.equal(after[f"guides.networks.0.{key}"], value), key
    config = json.loads((second / models.CONFIG).read_text())
    assert config["training"]["settings"]["guides"] == guides
    assert config["settings"]["guides"][0]["model"]["method"] == "regression"
    shutil.rmtree(first)
    assert models.load(second, kind="translator").module.guides.needs_sample is False
