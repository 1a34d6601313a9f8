"""`chiasm train` and `chiasm translate` with StyleGAN inversion, which a plug-in registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from safetensors.torch import load_file
from tiny import dataset, scan
from torch import equal

import stylegan.method
from chiasm.errors import ChiasmError
from chiasm.files import write
from chiasm.training.fit import train
from chiasm.training.settings import training_settings
from stylegan.objective import StyleGANObjective

WORDS = (
    "network.arguments={features: [6, 4, 4], latent: 5, mapping: 1}",
    "inversion={iterations: 3}",
    "adversarial={r1_every: 2, noise: 0.1, critic: {channels: 4, num_layers_d: 1}}",
    *("precision=32-true", "batch=2", "validate_every=4", "ema=0.5", "warmup=1"),
)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Three subjects whose PDw images are damaged, since the training must not read them."""
    folder = dataset(tmp_path_factory.mktemp("bids"))
    for path in folder.rglob("*_PDw.nii.gz"):
        path.write_bytes(b"not read")
    return folder


def settings(*words, iterations=6):
    told = (*WORDS, f"iterations={iterations}", *words)
    return training_settings("stylegan", "T1w", None, told)


def test_resuming_repeats_the_unbroken_run(subjects, tmp_path, monkeypatch):
    """The run is broken off at iteration 3 before the update."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(subjects, whole, settings())
    calls, original = iter(range(100)), StyleGANObjective.losses

    def losses(self, batch, generator):
        found = original(self, batch, generator)
        if next(calls) == 3:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(StyleGANObjective, "losses", losses)
        with pytest.raises(ChiasmError, match="--resume"):
            train(subjects, broken, settings())
    assert not (broken / "model.safetensors").exists()
    train(subjects, broken, settings(), resume=True)
    left, right = (load_file(one / "model.safetensors") for one in (whole, broken))
    assert left.keys() == right.keys()
    assert all(equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("adversarial.critic.num_layers_d=7", r"adversarial\.critic\.num_layers_d 7.*too deep"),
        ("checkpointing=true", r"checkpointing True.*stylegan"),
        ("inversion.loss=l3", r"inversion\.loss.*l3"),
    ],
)
def test_a_training_that_is_refused_leaves_nothing(subjects, tmp_path, word, said):
    out = tmp_path / "out"
    with pytest.raises(ChiasmError, match=said):
        train(subjects, out, settings(word))
    assert not out.exists()


def test_a_trained_model_translates_by_the_command(subjects, tmp_path):
    model, out, report = tmp_path / "model", tmp_path / "out", tmp_path / "how.json"
    train(subjects, model, settings(iterations=10))
    config = json.loads((model / "config.json").read_text())
    assert config["method"] == "stylegan"
    assert config["settings"]["inversion"]["iterations"] == 3
    assert [n % 4 for n in config["network"]["arguments"]["size"]] == [0, 0]
    assert "critic" not in " ".join(load_file(model / "model.safetensors"))

    # One scan is larger than those of the training, and the other is smaller.
    whole = scan((150, 110, 80), "T2w")
    large = np.pad(whole.array, ((10, 10), (6, 6), (0, 0)), mode="edge")
    small = whole.array[4:-4, 6:-6]
    (tmp_path / "in").mkdir()
    shapes = []
    for number, array in enumerate((large, small)):
        write(whole.with_array(array), tmp_path / "in" / f"sub-{number}_T2w.nii.gz")
        shapes.append(array.shape)
    words = ("-i", tmp_path / "in", "-o", out, "--model", model, "--report", report)
    words = (*words, "--iterations", 2)
    environment = os.environ | {"CHIASM_PLUGINS": str(Path(stylegan.method.__file__))}
    command = [sys.executable, "-m", "chiasm", "translate", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for number, shape in enumerate(shapes):
        found = np.asarray(nib.load(out / f"sub-{number}_T1w.nii.gz").dataobj)
        assert found.shape == shape
        assert np.ptp(found) > 1
    cases = json.loads(report.read_text())["cases"]
    assert [one["translation"]["inversion"]["iterations"] for one in cases] == [2, 2]


def test_without_the_plug_in_the_method_is_unknown(tmp_path):
    environment = {key: one for key, one in os.environ.items() if key != "CHIASM_PLUGINS"}
    words = ["-i", tmp_path, "-o", tmp_path / "out", "--target", "T1", "--method", "stylegan"]
    command = [sys.executable, "-m", "chiasm", "train", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--method stylegan" in done.stderr
