"""`chiasm train` of neighbouring slices, and of three planes."""

import json

import numpy as np
import pytest
from command_samples import DIFFUSION_UNET, UNET, brain, load, save_nifti

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
