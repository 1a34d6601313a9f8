"""`chiasm train` and `chiasm translate` with an adversarial method."""

import json

import pytest
from command_samples import brain, files_below, save_nifti
from safetensors.torch import load_file
from torch import equal

from chiasm.methods.baselines.cyclegan.objective import CycleGANObjective

WORDS = ("network.arguments.features=[4, 4, 4, 4, 4, 4]", "adversarial.buffer=3", "--sources", "PD")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four subjects with T1w and PDw, each of another size."""
    folder = tmp_path_factory.mktemp("bids")
    for seed in range(4):
        name = f"sub-{seed}"
        shape = (24 + 2 * seed, 28, 4)
        save_nifti(folder / name / f"{name}_T1w.nii.gz", brain(shape, seed=seed))
        pd = brain(shape, seed=seed + 10, levels=(150, 110, 60))
        save_nifti(folder / name / f"{name}_PDw.nii.gz", pd)
    return folder


def command(dataset, out, *words, iterations=6):
    return [
        *("train", "-i", dataset, "-o", out, "--target", "T1", "--method", "cyclegan"),
        *("adversarial.critic={channels: 4, num_layers_d: 1}", "precision=32-true", "batch=2"),
        *(f"iterations={iterations}", "validate_every=4", "ema=0.5", "warmup=1"),
        *WORDS,
        *words,
    ]


def test_resuming_repeats_the_unbroken_run(chiasm, dataset, out, monkeypatch):
    """Broken off when all of iteration 3 but the update is done."""
    whole = chiasm(*command(dataset, out / "whole"))
    assert (whole.code, whole.err) == (0, "")

    calls, original = iter(range(100)), CycleGANObjective.losses

    def losses(self, batch, generator):
        found = original(self, batch, generator)
        if next(calls) == 3:
            raise KeyboardInterrupt
        return found

    words = command(dataset, out / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(CycleGANObjective, "losses", losses)
        broken = chiasm(*words)
    assert broken.code == 1
    broken.assert_said("-o", out / "broken", "--resume")
    resumed = chiasm(*words, "--resume")
    assert (resumed.code, resumed.err) == (0, "")
    left, right = (load_file(out / one / "model.safetensors") for one in ("whole", "broken"))
    assert left.keys() == right.keys()
    assert all(equal(left[key], right[key]) for key in left)


def test_a_trained_model_translates(chiasm, dataset, out, tmp_path):
    model, report = tmp_path / "model", tmp_path / "how.json"
    assert chiasm(*command(dataset, model, iterations=10)).code == 0
    config = json.loads((model / "config.json").read_text())
    settings = config["training"]["settings"]
    assert settings["sources"] == ["PDw"]
    kept = " ".join(load_file(model / "model.safetensors"))
    assert "critic" not in kept
    assert "back" not in kept
    log = (model / "log" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "generator_loss", "critic_loss", "validation_loss"} <= set(log)

    # Larger than any of training, and smaller.
    for number, shape in enumerate([(44, 40, 3), (20, 16, 5)]):
        save_nifti(tmp_path / "in" / f"sub-{number}_PDw.nii.gz", brain(shape, seed=9))
    used = chiasm(
        *("translate", "-i", tmp_path / "in", "-o", out, "--model", model, "--report", report)
    )
    assert (used.code, used.err) == (0, "")
    assert files_below(out) == ["sub-0_T1w.nii.gz", "sub-1_T1w.nii.gz"]
    assert '"warning"' not in report.read_text()


def test_cyclegan_refuses_another_source(chiasm, dataset, out, tmp_path):
    model = tmp_path / "model"
    assert chiasm(*command(dataset, model, iterations=1)).code == 0
    scan = save_nifti(tmp_path / "in" / "sub-01_FLAIR.nii.gz", brain())
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model)
    assert result.code == 1
    result.assert_said("source FLAIR", "PDw")
    assert files_below(out) == []


def test_cyclegan_without_sources(chiasm, dataset, out):
    words = [one for one in command(dataset, out) if one not in ("--sources", "PD")]
    result = chiasm(*words)
    assert result.code == 2
    result.assert_said("--sources", "cyclegan")
    assert not out.exists()


def test_a_critic_that_is_too_deep_leaves_nothing(chiasm, dataset, out):
    result = chiasm(*command(dataset, out, "adversarial.critic.num_layers_d=7"))
    assert result.code == 2
    result.assert_said("adversarial.critic.num_layers_d", 7, "too deep")
    assert not out.exists()
