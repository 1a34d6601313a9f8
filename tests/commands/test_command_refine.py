"""`chiasm train` of what refines a translation, of neighbouring slices, and of three planes."""

import json
import shutil

import numpy as np
import pytest
import torch
from command_samples import DIFFUSION_UNET, UNET, brain, files_below, load, save_nifti
from safetensors.torch import load_file

NETWORKS = {"regression": UNET, "lmi-diffusion": DIFFUSION_UNET}
AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def dataset(tmp_path):
    """Two subjects of 2 mm."""
    for seed, name in enumerate(("sub-01", "sub-02")):
        path = tmp_path / "bids" / name / "anat" / f"{name}_T1w.nii.gz"
        save_nifti(path, brain((20, 18, 16), seed=seed), AFFINE)
    return tmp_path / "bids"


def command(dataset, out, method, **settings):
    chosen = {
        "network": NETWORKS[method],
        "iterations": 3,
        "batch": 2,
        "precision": "32-true",
        "ema": 0.5,
        "warmup": 1,
    }
    pairs = [f"{key}={json.dumps(value)}" for key, value in (chosen | settings).items()]
    return ["train", "-i", dataset, "-o", out, "--target", "t1", "--method", method, *pairs]


def test_a_diffusion_refines_a_frozen_regression(chiasm, dataset, out, tmp_path):
    first, second = out / "first", out / "second"
    assert chiasm(*command(dataset, first, "regression")).code == 0
    weights = load_file(first / "model.safetensors")
    guides = [{"name": "translation", "model": str(first)}]
    diffusion = {"residual": True, "start": "guide", "steps": 4}
    settings = {"guides": guides, "diffusion": diffusion, "min_snr": 5.0, "guide_dropout": 0}
    words = command(dataset, second, "lmi-diffusion", **settings)
    result = chiasm(*words)
    assert (result.code, result.err) == (0, "")
    inner = "guides.networks.0."
    after = load_file(second / "model.safetensors")
    kept = {key.removeprefix(inner): one for key, one in after.items() if key.startswith(inner)}
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[key], weights[key]) for key in weights)
    config = json.loads((second / "config.json").read_text())
    assert config["training"]["settings"]["guides"] == guides
    assert config["guides"][0]["model"]["method"] == "regression"

    shutil.rmtree(first)
    scan = save_nifti(tmp_path / "new_PDw.nii.gz", brain((20, 18, 16), seed=9), AFFINE)
    report = tmp_path / "how.json"
    words = ("translate", "-i", scan, "-o", tmp_path / "used", "--model", second)
    used = chiasm(*words, "--report", report, "--planes", "orthogonal", "--noise", "shared")
    assert (used.code, used.err) == (0, "")
    assert files_below(tmp_path / "used") == ["new_T1w.nii.gz"]
    assert np.isfinite(load(tmp_path / "used" / "new_T1w.nii.gz")).all()
    assert '"start": "guide"' in report.read_text()


def test_a_guide_that_names_no_model(chiasm, dataset, out):
    guides = [{"name": "translation", "model": "nowhere"}]
    result = chiasm(*command(dataset, out, "lmi-diffusion", guides=guides))
    assert result.code == 2
    result.assert_said("guide.translation.model", "nowhere", "is not a model")
    assert not out.exists()


@pytest.mark.parametrize("method", NETWORKS)
def test_neighbouring_slices_as_context(chiasm, dataset, out, tmp_path, method):
    context = {"kind": "2.5d", "neighbours": 1}
    assert chiasm(*command(dataset, out, method, context=context)).code == 0
    scan = save_nifti(tmp_path / "new_PDw.nii.gz", brain((20, 18, 16), seed=9), AFFINE)
    used = chiasm("translate", "-i", scan, "-o", tmp_path / "used.nii.gz", "--model", out)
    assert (used.code, used.err) == (0, "")
    assert load(tmp_path / "used.nii.gz").shape == (20, 18, 16)


def test_slices_of_three_planes_are_trained_on(chiasm, dataset, out):
    planes = ["axial", "coronal", "sagittal"]
    assert chiasm(*command(dataset, out, "regression", planes=planes, iterations=1)).code == 0
    facts = json.loads((out / "config.json").read_text())["training"]
    head = brain((20, 18, 16)) > 0
    shown = sum(int(head.any(axis=axes).sum()) for axes in ((0, 1), (0, 2), (1, 2)))
    assert facts["samples"] == shown * facts["subjects"]["train"]


@pytest.mark.parametrize(
    ("option", "value"), [("--planes", "oblique"), ("--noise", "pink"), ("--start", "end")]
)
def test_options_that_are_none(chiasm, scan, out, regression, option, value):
    result = chiasm("translate", "-i", scan, "-o", out, "--model", regression, option, value)
    assert result.code == 2
    result.assert_said(option, value)
    assert not out.exists()
