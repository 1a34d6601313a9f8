"""`chiasm export`: what is written is read by other programs, and gives what the model gives."""

import json
import re
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from command_samples import brain, files_below, load, save_nifti

from chiasm import models
from chiasm.export import write as exporting

ENDINGS = {"torchscript": ".ts", "onnx": ".onnx"}


@pytest.fixture
def of_brains(tmp_path, segmenter):
    """The segmenter, as a model of skull-stripped brains: it sees nothing around the foreground."""
    folder = shutil.copytree(segmenter, tmp_path / "of-brains")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"brain_only": True}))
    return folder


def runs(to, path):
    """The written network as a function of arrays."""
    if to == "torchscript":
        network = torch.jit.load(str(path))
        return lambda *given: network(*map(torch.from_numpy, given)).numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda *given: session.run(None, dict(zip(names, given, strict=True)))[0]


@pytest.mark.parametrize("to", ENDINGS)
def test_a_segmenter_is_exported_with_its_description(chiasm, tmp_path, of_brains, t1, to):
    if to == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    file = tmp_path / f"mine{ENDINGS[to]}"
    result = chiasm("export", of_brains, "--to", to, "-o", file)
    assert (result.code, result.err) == (0, "")
    assert f"wrote {file}" in result.out
    told = yaml.safe_load(file.with_suffix(".yaml").read_text())
    assert told["modality"] == "T1w"
    assert told["labels"] == {0: "background", 1: "csf", 2: "grey", 3: "white"}
    assert told["spacing"] == [2.0, 2.0, None]
    module = models.load(of_brains, kind="segmenter").module.eval()
    images = np.random.default_rng(0).random((2, 1, 48, 80), np.float32)
    with torch.no_grad():
        true = module(torch.from_numpy(images)).softmax(1).numpy()
    np.testing.assert_allclose(runs(to, file)(images), true, atol=1e-4)
    # The description is complete: our own reader of such files makes the same label map.
    words = ("segment", "-i", t1, "-o")
    assert chiasm(*words, tmp_path / "a.nii.gz", "--segmenter", of_brains).code == 0
    result = chiasm(*words, tmp_path / "b.nii.gz", "--segmenter", file)
    assert result.code == 0, result.err
    own, others = (load(tmp_path / f"{name}.nii.gz") for name in "ab")
    assert np.mean(own != others) < 0.01


@pytest.mark.parametrize("to", ENDINGS)
def test_a_translator_is_exported(chiasm, tmp_path, regression, to):
    if to == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    file = tmp_path / f"mine{ENDINGS[to]}"
    assert chiasm("export", regression, "--to", to, "-o", file).code == 0
    told = yaml.safe_load(file.with_suffix(".yaml").read_text())
    assert told["translates_to"] == "T1w"
    assert told["units_of_output"] == {"at_0": 100.0, "at_1": 900.0, "units": "a.u."}
    module = models.load(regression, kind="translator").module.eval()
    images = np.random.default_rng(0).random((1, 1, 32, 48), np.float32)
    with torch.no_grad():
        true = module(torch.from_numpy(images)).clamp(0, 1).numpy()
    np.testing.assert_allclose(runs(to, file)(images), true, atol=1e-4)


def test_a_bundle_segments_as_the_model(chiasm, tmp_path, segmenter, t1):
    folder = tmp_path / "bundle"
    result = chiasm("export", segmenter, "--to", "bundle", "-o", folder)
    assert (result.code, result.err) == (0, "")
    scripts = [f"scripts/{name}.py" for name in ("__init__", "axes", "bundle_steps")]
    scripts.append("scripts/foreground_search.py")
    configs = ["configs/inference.json", "configs/metadata.json"]
    assert files_below(folder) == [*configs, "docs/README.md", "models/model.ts", *scripts]
    for name in scripts:
        assert not re.search(r"^(import|from) chiasm", (folder / name).read_text(), re.M)
    meta = json.loads((folder / "configs" / "metadata.json").read_text())
    assert meta["network_data_format"]["outputs"]["pred"]["channel_def"]["3"] == "white"
    words = ("segment", "-i", t1, "-o")
    assert chiasm(*words, tmp_path / "a.nii.gz", "--segmenter", segmenter).code == 0
    result = chiasm(*words, tmp_path / "b.nii.gz", "--segmenter", folder)
    assert result.code == 0, result.err
    own, others = (load(tmp_path / f"{name}.nii.gz") for name in "ab")
    # A coronal slice is padded along all axes here, and along two by Chiasm.
    assert np.mean(own != others) < 0.005
    assert {*np.unique(others)} == {0, 1, 2, 3}


@pytest.mark.long
@pytest.mark.parametrize("model", ["brain-t1-tissue", "brain-t1"])
def test_monai_runs_a_bundle_of_a_shipped_model(chiasm, tmp_path, model):
    """On a scan whose voxels, and whose directions of axes, are not those of the network."""
    pytest.importorskip("fire")
    pytest.importorskip("ignite")
    words = ("--modalities", "T1", "--spacing", 1.5)
    assert chiasm("phantom", "-o", tmp_path / "brain", *words).code == 0
    true = nib.load(next((tmp_path / "brain").rglob("*_T1w.nii.gz")))
    fewer = np.asarray(true.dataobj)[:, ::-1, ::2]
    affine = true.affine @ np.diag([1.0, -1, 2, 1])
    affine[:3, 3] += true.affine[:3, 1] * (true.shape[1] - 1)
    scan = tmp_path / "thick.nii.gz"
    nib.save(nib.Nifti1Image(fewer, affine), scan)
    folder, results = tmp_path / "bundle", tmp_path / "results"
    assert chiasm("export", model, "--to", "bundle", "-o", folder).code == 0
    words = ["--bundle_root", ".", "--config_file", "configs/inference.json"]
    words += ["--datalist", f"['{scan}']", "--output_dir", str(results)]
    monai = [sys.executable, "-m", "monai.bundle", "run", *words]
    subprocess.run(monai, cwd=folder, check=True, capture_output=True)
    (made,) = results.rglob("*.nii.gz")
    out = tmp_path / "out.nii.gz"
    what = ("segment",) if model == "brain-t1-tissue" else ("translate", "--modality", "T2")
    result = chiasm(*what, "-i", scan, "-o", out)
    assert result.code == 0, result.err
    np.testing.assert_allclose(nib.load(made).affine, affine, atol=1e-4)
    own, others = load(out), load(made)
    if model == "brain-t1-tissue":
        assert np.mean(own != others) < 1e-3
    else:
        assert np.abs(own - others).mean() < 1e-3 * np.ptp(own)


def test_a_bundle_of_others_is_read_by_its_config(chiasm, tmp_path, t1):
    """Weights in model.pt, a network of MONAI, and transforms as in MONAI's model zoo."""
    folder = tmp_path / "zoo"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    from monai.networks.nets import BasicUNet

    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3,
                 "features": [4, 4, 4, 4, 4, 4]}  # fmt: skip
    torch.manual_seed(0)
    torch.save(BasicUNet(**arguments).state_dict(), folder / "models" / "model.pt")
    channels = {"0": "background", "1": "spleen", "2": "liver"}
    content = {"name": "zoo", "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "modality": "MR"}},
        "outputs": {"pred": {"channel_def": channels}}}}  # fmt: skip
    (folder / "configs" / "metadata.json").write_text(json.dumps(content))
    after = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
         "orig_keys": "image", "nearest_interp": False},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
    ]  # fmt: skip
    config = {
        "output_dir": "eval",
        "network_def": {"_target_": "BasicUNet", **arguments},
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "DivisiblePadd", "keys": "image", "k": 32},
        ]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32]},
        "postprocessing": {"_target_": "Compose", "transforms": after},
    }  # fmt: skip
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    result = chiasm("segment", "-i", t1, "-o", tmp_path / "a.nii.gz", "--segmenter", folder)
    assert result.code == 0, result.err
    assert load(tmp_path / "a.nii.gz").shape == load(t1).shape
    table = (tmp_path / "a.tsv").read_text()
    assert "liver" in table


def test_a_bundle_that_fails_says_why_in_one_line(chiasm, tmp_path, segmenter, t1, out):
    folder = tmp_path / "bundle"
    assert chiasm("export", segmenter, "--to", "bundle", "-o", folder).code == 0
    config = json.loads((folder / "configs" / "inference.json").read_text())
    del config["inferer"]
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    result = chiasm("segment", "-i", t1, "-o", out / "a.nii.gz", "--segmenter", folder)
    assert result.code == 1
    result.assert_said("--segmenter", "its inference config has no inferer")
    assert not (out / "a.nii.gz").exists()


def test_what_differs_from_the_model_is_not_written(chiasm, tmp_path, segmenter, monkeypatch):
    monkeypatch.setattr(exporting, "_TOLERANCE", -1.0)
    for to, name in (("torchscript", "a.ts"), ("bundle", "b")):
        result = chiasm("export", segmenter, "--to", to, "-o", tmp_path / "out" / name)
        assert result.code == 1
        result.assert_said("-o", "differs from the model")
    assert files_below(tmp_path / "out") == []


def test_what_cannot_be_exported(chiasm, tmp_path, diffusion, segmenter):
    def refused(*words, said):
        result = chiasm("export", *words)
        assert result.code in (1, 2)
        result.assert_said(*said)

    file = tmp_path / "a.ts"
    refused(diffusion, "--to", "torchscript", "-o", file,
            said=("MODEL", "lmi-diffusion", "several steps"))  # fmt: skip
    refused(segmenter, "--to", "coreml", "-o", file, said=("--to coreml", "torchscript, onnx"))
    refused("none", "--to", "torchscript", "-o", file, said=("MODEL none", "is not a model"))
    refused(segmenter, "--to", "torchscript", "-o", tmp_path / "a.txt", said=("-o", ".ts"))
    file.write_text("mine")
    refused(segmenter, "--to", "torchscript", "-o", file, said=("-o", "exists", "--overwrite"))
    assert file.read_text() == "mine"
    other = save_nifti(tmp_path / "scans" / "a.nii.gz", brain()).parent
    refused(segmenter, "--to", "bundle", "-o", other, "--overwrite", said=("-o", "is no bundle"))
    assert files_below(other) == ["a.nii.gz"]
