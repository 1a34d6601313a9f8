"""A frozen translation that guides a diffusion: kept whole in the model, and refined."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from chiasm import models
from chiasm.context import Context
from chiasm.diffusion.sampling import generators, sample, signal_of
from chiasm.errors import UsageError
from chiasm.guides import guide_from_config
from chiasm.intensity import IntensityMap
from chiasm.preparation import GridSettings
from chiasm.translators import RunOptions
from chiasm.translators.lmi_diffusion import LMIDiffusion
from chiasm.translators.steered import Steered

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
    config = models.ModelConfig(network=network, guides=guides, **SHARED | changes)
    torch.manual_seed(1)
    module = models.build(config)
    for weight in module.network.parameters():
        if shake:  # MONAI begins with an output layer of zeros
            torch.nn.init.normal_(weight, std=0.2)
    config = config.model_copy(update={"guides": module.guides.record()})
    models.save(folder, config, module, "# random weights\n")
    return folder


@pytest.fixture
def regression(tmp_path):
    return saved(tmp_path / "first", UNET, [{"name": "source"}], method="regression")


def refiner(tmp_path, regression, **changes):
    guides = [{"name": "source"}, {"name": "translation", "model": str(regression)}]
    settings = {"method": "lmi-diffusion", "diffusion": {"steps": 4}} | changes
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


def test_a_residual_is_added_to_the_translation(tmp_path, regression):
    """A network that still answers 0 leaves the translation as it is."""
    diffusion = {"steps": 1, "residual": True}
    folder = refiner(tmp_path, regression, diffusion=diffusion, shake=False)
    model = models.load(folder, kind="translator")
    first = models.load(regression, kind="translator").module(SOURCE)
    with torch.inference_mode():
        refined = LMIDiffusion(model, RunOptions()).run(SOURCE, [0, 1], None)
    torch.testing.assert_close(refined, first.clamp(0, 1))


def test_sampling_starts_from_the_noised_translation(tmp_path, regression):
    model = models.load(refiner(tmp_path, regression), kind="translator")
    first = models.load(regression, kind="translator").module
    translator = LMIDiffusion(model, RunOptions(start="guide", edit_from=0.5, steps=4))
    steps = []
    with torch.inference_mode():
        result = translator.run(SOURCE, [5, 6], lambda *step: steps.append(step))
        start = first(SOURCE).clamp(0, 1) * 2 - 1
        solver = model.module.settings.schedule.scheduler("ddim", "x0")
        denoise = model.module.bind(SOURCE, signal=signal_of(solver))
        streams = generators(0, [5, 6])
        expected = sample(denoise, solver, 4, start, streams, from_time=0.5)
    torch.testing.assert_close(result, (expected + 1) / 2)
    assert translator.evaluations() == len(steps) == 2
    assert translator.settings()["start"] == "guide"


def test_the_translation_alone_is_not_diffused(tmp_path, regression):
    model = models.load(refiner(tmp_path, regression), kind="translator")
    translator, steps = LMIDiffusion(model, RunOptions(start="estimate")), []
    with torch.inference_mode():
        result = translator.run(SOURCE, [5, 6], lambda *step: steps.append(step))
        expected = models.load(regression, kind="translator").module(SOURCE).clamp(0, 1)
    torch.testing.assert_close(result, expected)
    assert translator.evaluations() == len(steps) == 1
    assert translator.settings()["start"] == "estimate"


def test_the_translation_alone_is_not_steered(tmp_path, regression):
    model = models.load(refiner(tmp_path, regression), kind="translator")
    with pytest.raises(UsageError, match=r"--start estimate.*no step to steer"):
        Steered(model, RunOptions(start="estimate"))


def test_what_cannot_guide_is_refused(tmp_path, regression):
    plain = saved(
        tmp_path / "plain",
        DIFFUSION_UNET,
        [{"name": "source"}],
        method="lmi-diffusion",
        diffusion={"steps": 2},
    )
    with pytest.raises(UsageError, match=r"--start guide.*no estimate"):
        LMIDiffusion(models.load(plain, kind="translator"), RunOptions(start="guide"))
    changes = {"method": "lmi-diffusion", "diffusion": {"residual": True}}
    with pytest.raises(UsageError, match=r"residual.*nothing to add to"):
        saved(tmp_path / "none", DIFFUSION_UNET, [{"name": "source"}], **changes)
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
