"""From label maps to a model: phantoms with disease, a training on heads, and its error map."""

import json

import nibabel as nib
import numpy as np
import pytest
from command_samples import files_below, load
from safetensors.torch import load_file

from chiasm.methods.regression.objective import RegressionObjective

HEADS = ("--spacing", 2, "--modalities", "PD,CT", "--seed", 5, "--head")
TRAINING = {
    "anatomies": {"reuse": 2},
    "augmentation": {"rotation": 0, "scale": 0, "crop": [16, 16, 16]},
    "context": {"kind": "3d"},
    "grid": {"spacing": [2, 2, 2]},
    "network": {"name": "unet", "arguments": {"features": [4, 4, 4, 4, 4, 4], "norm": "batch"}},
    "contrast": {"thick": 0.5},
    "learn_error": True,
    "window": [16, 16, 16],
    "iterations": 4,
    "batch": 2,
    "precision": "32-true",
    "validate_every": 4,
    "warmup": 1,
}


def training(folder, out, **settings):
    pairs = [f"{key}={json.dumps(value)}" for key, value in (TRAINING | settings).items()]
    return ["train", "-i", folder, "-o", out, "--target", "T1", "--method", "regression", *pairs]


def test_a_dataset_of_heads(chiasm, tmp_path, out, anatomies):
    words = (*HEADS, "--anatomies", anatomies, "--tumours", "--lesions", "--any-plane",
             "--artefacts", "--thickness", "2-5", "--subjects", 2)  # fmt: skip
    result = chiasm("phantom", "-o", out, *words)
    assert (result.code, result.err) == (0, "")
    anat = out / "sub-01" / "anat"
    images = [nib.load(anat / f"sub-01_{name}.nii.gz") for name in ("PDw", "CT", "dseg")]
    assert len({image.shape for image in images}) == 1
    np.testing.assert_allclose(images[0].header.get_zooms()[:3], 2)
    assert 4 in np.asarray(images[2].dataobj)
    assert load(anat / "sub-01_CT.nii.gz").min() < -900
    columns, *rows = (out / "participants.tsv").read_text().splitlines()
    table = [dict(zip(columns.split("\t"), row.split("\t"), strict=True)) for row in rows]
    for row in table:
        assert row["anatomy"].startswith("person_")
        assert row["PDw_plane"] in ("axial", "coronal", "sagittal")
        assert 2 <= float(row["CT_slice_thickness_mm"]) <= 5
    described = json.loads((out / "participants.json").read_text())
    assert {*described} == {*columns.split("\t")}
    sources = json.loads((out / "dataset_description.json").read_text())["ReferencesAndLinks"]
    assert sources == [f"The label maps of {anatomies.name}"]
    again = tmp_path / "again"
    assert chiasm("phantom", "-o", again, *words).code == 0
    for name in files_below(out):
        assert (out / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.parametrize("option", ["--tumours", "--resections", "--any-plane", "--artefacts"])
def test_options_of_heads_need_label_maps(chiasm, out, option):
    result = chiasm("phantom", "-o", out, option)
    assert result.code == 2
    result.assert_said(option, "needs the heads of real people", "--anatomies")
    assert not out.exists()


@pytest.mark.parametrize("thickness", ["thick", "1-2-3", "4-1", "-1", "nan", "1-inf"])
def test_a_range_of_thickness(chiasm, out, thickness):
    result = chiasm("phantom", "-o", out, f"--thickness={thickness}")
    assert result.code == 2
    result.assert_said("--thickness", "two numbers of mm")


def test_ct_needs_label_maps(chiasm, out, anatomies):
    result = chiasm("phantom", "-o", out, "--modalities", "CT")
    assert result.code == 2
    result.assert_said("--modalities CT", "T1w, PDw, T2w, FLAIR")


def test_a_folder_without_label_maps(chiasm, tmp_path, out):
    result = chiasm("phantom", "-o", out, "--anatomies", tmp_path)
    assert result.code == 1
    result.assert_said("--anatomies", tmp_path, "holds no label map")


def test_a_model_of_heads_gives_its_expected_error(chiasm, tmp_path, out, anatomies):
    model = tmp_path / "model"
    result = chiasm(*training(anatomies, model))
    assert result.code == 0, result.err
    config = json.loads((model / "config.json").read_text())
    assert config["settings"]["learn_error"] is True
    assert config["settings"]["window"] == [16, 16, 16]
    assert config["brain_only"] is False
    assert config["intensity"]["high"] == 125  # the canonical contrast, white matter is 110

    heads = tmp_path / "heads"
    assert chiasm("phantom", "-o", heads, *HEADS, "--anatomies", anatomies).code == 0
    scan = heads / "sub-01" / "anat" / "sub-01_PDw.nii.gz"
    report = out / "report.json"
    done = chiasm("translate", "-i", scan, "-o", out / "sub-01_T1w.nii.gz", "--model", model,
                  "--report", report)  # fmt: skip
    assert done.code == 0, done.err
    made = ["report.json", "sub-01_T1w.nii.gz", "sub-01_desc-err_T1w.nii.gz"]
    assert files_below(out) == made
    image, error = (load(out / name) for name in made[1:])
    assert image.shape == error.shape == load(scan).shape
    (case,) = json.loads(report.read_text())["cases"]
    assert case["outputs"] == [str(out / name) for name in made[1:]]
    # The least expected error is 0.002 of the range of 125; outside the foreground it is 0.
    assert error.min() == 0
    inside = error[error > 0]
    assert inside.size > 1000
    assert inside.min() > 0.002 * 125 * 0.5
    assert np.isfinite(error).all()
    mean = case["translation"]["expected_error_mean"]
    assert mean == pytest.approx(inside.mean(), rel=0.05)


def test_the_expected_error_is_learned_in_a_stage_of_its_own(chiasm, tmp_path, anatomies):
    """The second training takes the image's weights from the first and leaves them as they are."""
    image, both, alone = tmp_path / "image", tmp_path / "both", tmp_path / "alone"
    small = TRAINING["network"]
    error = {"stages": {"error": {"iterations": 3, "anatomies": {"varied": True}}}}
    assert chiasm(*training(anatomies, image)).code == 0
    result = chiasm(*training(anatomies, both, error_network=small, **error))
    assert result.code == 0, result.err
    assert (both / "image" / "config.json").is_file()
    error["stages"]["image"] = {"iterations": 0}
    again = training(anatomies, alone, error_network=small, pretrained=str(image), **error)
    result = chiasm(*again)
    assert result.code == 0, result.err
    weights = [load_file(one / "model.safetensors") for one in (image, both, alone)]
    for name, value in weights[0].items():
        for other in weights[1:]:
            np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert any(name.startswith("error_network.") for name in weights[2])
    config = json.loads((alone / "config.json").read_text())
    assert config["settings"]["error_network"] == small
    result = chiasm(*training(anatomies, tmp_path / "none", error_network=small, **error))
    assert result.code == 2
    result.assert_said("stages.image.iterations", "no pretrained model")


def test_a_resumed_training_on_heads_gives_the_same_weights(
    chiasm, tmp_path, anatomies, monkeypatch
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"checkpoint_every": 1, "anatomies": {"reuse": 3, "varied": True}}
    assert chiasm(*training(anatomies, whole, **settings)).code == 0
    original, calls = RegressionObjective.loss, []

    def loss(self, batch, generator):
        calls.append(1)
        if len(calls) == 3:
            raise FloatingPointError("the loss is not finite")
        return original(self, batch, generator)

    monkeypatch.setattr(RegressionObjective, "loss", loss)
    assert chiasm(*training(anatomies, broken, **settings)).code == 1
    result = chiasm(*training(anatomies, broken, **settings), "--resume")
    assert result.code == 0, result.err
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert {*one} == {*two}
    for name, weights in one.items():
        assert (weights == two[name]).all(), name
    assert len(calls) > 4


def test_a_box_that_the_network_cannot_take(chiasm, out, anatomies):
    settings = {"augmentation": {"rotation": 0, "scale": 0, "crop": [16, 16, 20]}}
    result = chiasm(*training(anatomies, out, **settings))
    assert result.code == 2
    result.assert_said(
        "augmentation.crop", "[16, 16, 20]", "is no size of a box", "multiples of 16"
    )
    result = chiasm(*training(anatomies, out, window=[16, 16, 24]))
    assert result.code == 2
    result.assert_said("window", "[16, 16, 24]", "does not fit the network", "multiples of 16")
