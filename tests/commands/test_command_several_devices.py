"""`chiasm train --devices 2`: two processes on the CPU make one model."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_samples import DIFFUSION_UNET, UNET, brain, files_below, save_nifti
from safetensors.torch import load_file

LATENT = (
    "network.arguments={channels: [8, 8], num_res_blocks: 1, attention_levels: [false, false], "
    "norm_num_groups: 4}",
    "latent={autoencoder: {channels: [4, 6], codes: 16, latent: 3}, "
    "translator: {features: [5], hidden: 4}}",
    "adversarial.critic={channels: 4, num_layers_d: 1}",
    *("grid.spacing=[1, 1, 1]", "any_contrast=0.5", "diffusion.steps=2"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three subjects with T1w and PDw."""
    folder = tmp_path_factory.mktemp("bids")
    for seed in range(3):
        name = f"sub-{seed}"
        save_nifti(folder / name / f"{name}_T1w.nii.gz", brain(seed=seed))
        pd = brain(seed=seed, levels=(150, 110, 60))
        save_nifti(folder / name / f"{name}_PDw.nii.gz", pd)
    return folder


def started(dataset, out, *words, devices=2):
    command = [sys.executable, "-m", "chiasm", "train", "-i", str(dataset), "-o", str(out)]
    command += ["precision=32-true", "warmup=1", "validate_every=3", "batch=4", "--device", "cpu"]
    command += ["--threads", "1", "--devices", str(devices), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def words(method, network=None, iterations=4, target=("--target", "T1")):
    given = [] if network is None else [f"network={json.dumps(network)}"]
    return *target, "--method", method, f"iterations={iterations}", *given


def test_two_processes_make_one_model(dataset, tmp_path):
    code, out, err = ended(started(dataset, tmp_path / "two", *words("regression", UNET)))
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    written = ["README.md", "config.json", "log/metrics.csv", "model.safetensors", "training.yaml"]
    assert files_below(tmp_path / "two") == written
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert config["training"]["devices"] == 2
    assert np.isfinite(config["training"]["validation_loss"])


@pytest.mark.long
def test_a_training_on_two_devices_goes_on_after_an_interruption(dataset, tmp_path):
    chosen = words("regression", UNET, iterations=40)
    assert ended(started(dataset, tmp_path / "whole", *chosen))[0] == 0
    process = started(dataset, tmp_path / "broken", *chosen, "checkpoint_every=1")
    while not (tmp_path / "broken" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = ended(process)
    assert code == 1
    assert "--resume to continue" in err
    assert "Traceback" not in err
    code, _, err = ended(
        started(dataset, tmp_path / "broken", *chosen, "checkpoint_every=1", "--resume")
    )
    assert (code, err) == (0, "")
    left, right = (load_file(tmp_path / one / "model.safetensors") for one in ("whole", "broken"))
    for name in left:
        np.testing.assert_allclose(left[name], right[name], atol=1e-5, err_msg=name)


@pytest.mark.long
@pytest.mark.parametrize("method", ["lmi-diffusion", "cyclegan", "aldm"])
def test_other_methods(method, dataset, tmp_path):
    chosen = {
        "lmi-diffusion": words("lmi-diffusion", DIFFUSION_UNET),
        "cyclegan": (
            *words("cyclegan"),
            "adversarial.critic={channels: 4, num_layers_d: 1}",
            "network.arguments.features=[4, 4, 4, 4, 4, 4]",
            *("--sources", "PD"),
        ),
        "aldm": (*words("aldm", target=("--modalities", "T1,PD")), *LATENT),
    }[method]
    code, out, err = ended(started(dataset, tmp_path / "two", *chosen))
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert (tmp_path / "two" / "model.safetensors").exists()
