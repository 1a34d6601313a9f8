"""`chiasm train`: from scans of one modality to a model that works, and again after a break."""

import errno
import json
import os
import signal

import numpy as np
import pytest
import yaml
from command_samples import DIFFUSION_UNET, TISSUE_NAMES, UNET, brain, files_below, save_nifti
from safetensors.torch import load_file

from chiasm import files
from chiasm.image.volume import Label, LabelVolume
from chiasm.methods.regression.objective import RegressionObjective

MODEL = ["README.md", "config.json", "model.safetensors"]
NETWORKS = {"regression": UNET, "lmi-diffusion": DIFFUSION_UNET, "segmenter": UNET}


@pytest.fixture
def dataset(tmp_path):
    """Three subjects with T1w and dseg; their other images are damaged."""
    folder = tmp_path / "bids"
    labels = tuple(Label(value, name, "#000000") for value, name in enumerate(TISSUE_NAMES))
    for seed, name in enumerate(("sub-01", "sub-02", "sub-03")):
        anat = folder / name / "anat"
        path = save_nifti(anat / f"{name}_T1w.nii.gz", brain(seed=seed))
        affine = files.read(path).affine
        dseg = LabelVolume(brain(labels=True), affine, labels)
        files.write(dseg, anat / f"{name}_dseg.nii.gz")
        for other in ("PDw", "T2w", "FLAIR"):
            (anat / f"{name}_{other}.nii.gz").write_text("never to be opened")
    return folder


def command(dataset, out, method="regression", iterations=4, **settings):
    """The words of a short training run, with all that must not change on resuming."""
    chosen = {
        "network": NETWORKS[method],
        "iterations": iterations,
        "batch": 2,
        "precision": "32-true",
        "validate_every": 3,
        "ema": 0.5,
        "warmup": 1,
    }
    pairs = [f"{key}={json.dumps(value)}" for key, value in (chosen | settings).items()]
    return ["train", "-i", dataset, "-o", out, "--target", "t1", "--method", method, *pairs]


@pytest.fixture
def break_off(monkeypatch):
    """Make the objective raise at its n-th call from now on."""
    original = RegressionObjective.loss

    def prepare(call, error):
        calls = iter(range(1, 1000))

        def loss(self, batch, generator):
            if next(calls) == call:
                raise error
            return original(self, batch, generator)

        monkeypatch.setattr(RegressionObjective, "loss", loss)

    yield prepare
    monkeypatch.setattr(RegressionObjective, "loss", original)


def assert_same_weights(one, other):
    left, right = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_allclose(left[key], right[key], rtol=0, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("method", NETWORKS)
def test_a_trained_model_is_a_folder_that_works(chiasm, dataset, out, tmp_path, method):
    result = chiasm(*command(dataset, out, method, seed=7))
    assert (result.code, result.err) == (0, "")
    assert str(out) in result.out
    assert set(files_below(out)) >= {*MODEL, "training.yaml", "log/metrics.csv"}
    config = json.loads((out / "config.json").read_text())
    assert config["target"] == "T1w"
    assert config["training"]["settings"]["seed"] == 7
    assert yaml.safe_load((out / "training.yaml").read_text())["seed"] == 7
    assert "T1w" in (out / "README.md").read_text()

    scan = save_nifti(tmp_path / "new_PDw.nii.gz", brain(seed=9, levels=(150, 90, 30)))
    if method == "segmenter":
        scan = save_nifti(tmp_path / "new_T1w.nii.gz", brain(seed=9))
        used = chiasm("segment", "-i", scan, "-o", tmp_path / "used", "--segmenter", out)
        assert files_below(tmp_path / "used") == ["new_dseg.nii.gz", "new_dseg.tsv"]
    else:
        used = chiasm("translate", "-i", scan, "-o", tmp_path / "used", "--model", out)
        assert files_below(tmp_path / "used") == ["new_T1w.nii.gz"]
    assert (used.code, used.err) == (0, "")


@pytest.mark.parametrize(
    ("method", "suffixes"), [("regression", {"T1w"}), ("segmenter", {"T1w", "dseg"})]
)
def test_no_image_but_the_targets_is_opened(chiasm, dataset, out, opened, method, suffixes):
    assert chiasm(*command(dataset, out, method, iterations=1)).code == 0
    below = {path.name for path in opened if dataset in path.parents}
    tables = {f"{name}_dseg.tsv" for name in os.listdir(dataset)}
    scans = {f"{name}_{suffix}.nii.gz" for name in os.listdir(dataset) for suffix in suffixes}
    assert below - tables == scans


def test_checkpointing_makes_the_same_model(chiasm, dataset, out, break_off):
    """Though broken off and resumed."""
    plain = command(dataset, out / "plain", iterations=6)
    assert chiasm(*plain).code == 0
    words = command(dataset, out / "less", iterations=6, checkpointing=True)
    break_off(3, KeyboardInterrupt())
    assert chiasm(*words).code == 1
    assert chiasm(*words, "--resume").code == 0
    assert_same_weights(out / "plain", out / "less")


def test_fine_tuning_begins_with_the_weights_of_another_model(chiasm, dataset, out):
    """A rate of next to nothing leaves them where they were; its own seed would not."""
    assert chiasm(*command(dataset, out / "first", seed=1)).code == 0
    more = {"seed": 2, "pretrained": str(out / "first"), "learning_rate": 1e-12}
    assert chiasm(*command(dataset, out / "second", **more)).code == 0
    first, second = (load_file(out / one / "model.safetensors") for one in ("first", "second"))
    learned = [name for name in first if "running" not in name and "batches" not in name]
    assert learned
    for name in learned:
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-6, err_msg=name)
    taken = json.loads((out / "second" / "config.json").read_text())["training"]["pretrained"]
    assert taken == f"{len(first)} of {len(first)} tensors of first"


def test_a_segmenter_begins_with_the_weights_of_a_translator(chiasm, dataset, out):
    """All but those of the first layer, which sees another guide, and of the last."""
    assert chiasm(*command(dataset, out / "first", iterations=1)).code == 0
    more = {"pretrained": str(out / "first"), "learning_rate": 1e-12, "iterations": 1}
    assert chiasm(*command(dataset, out / "second", "segmenter", **more)).code == 0
    first, second = (load_file(out / one / "model.safetensors") for one in ("first", "second"))
    same = {name for name in second if name in first and first[name].shape == second[name].shape}
    assert len(same) > len(second) / 2
    for name in same:
        if "running" not in name and "batches" not in name:
            np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-6, err_msg=name)
    taken = json.loads((out / "second" / "config.json").read_text())["training"]["pretrained"]
    assert taken == f"{len(same)} of {len(second)} tensors of first"


def test_resuming_repeats_the_unbroken_run(chiasm, dataset, out, break_off):
    """The loss is called in iterations 0, 1, 2, four times in validation, in iteration 3, ..."""
    whole = out / "whole"
    assert chiasm(*command(dataset, whole, iterations=6)).code == 0
    for name, call in (("in training", 3), ("in validation", 5)):
        words = command(dataset, out / name, iterations=6)
        break_off(call, KeyboardInterrupt())
        broken = chiasm(*words)
        assert broken.code == 1
        broken.assert_said("-o", out / name, "--resume")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert "last.ckpt" in files_below(out / name)
        assert not set(MODEL) & set(files_below(out / name))

        resumed = chiasm(*words, "--resume")
        assert (resumed.code, resumed.err) == (0, "")
        assert_same_weights(out / name, whole)


def test_another_seed_is_another_model(chiasm, dataset, out, tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        assert chiasm(*command(dataset, out / name, iterations=1, seed=seed)).code == 0
    with pytest.raises(AssertionError):
        assert_same_weights(out / "one", out / "two")


def test_a_loss_that_is_not_finite(chiasm, dataset, out):
    result = chiasm(*command(dataset, out, iterations=20, learning_rate=1e30, clip=1e30))
    assert result.code == 1
    result.assert_said("-o", out, "the loss is nan", "learning_rate")
    assert not set(MODEL) & set(files_below(out))


def test_resuming_what_was_finished_writes_the_same_model(chiasm, dataset, out, tmp_path):
    words = command(dataset, out, checkpoint_every=2)
    assert chiasm(*words).code == 0
    first = tmp_path / "first"
    first.mkdir()
    (out / "model.safetensors").rename(first / "model.safetensors")
    assert chiasm(*words, "--resume").code == 0
    assert_same_weights(first, out)


def test_what_cannot_be_resumed(chiasm, dataset, out, break_off):
    nothing = chiasm(*command(dataset, out), "--resume")
    assert nothing.code == 1
    nothing.assert_said("--resume", out / "last.ckpt", "does not exist")
    assert not out.exists()

    break_off(2, KeyboardInterrupt())
    words = command(dataset, out)
    assert chiasm(*words).code == 1
    other = chiasm(*command(dataset, out, batch=3), "--resume")
    assert other.code == 1
    other.assert_said("--resume", out, "batch", "training.yaml")

    checkpoint = out / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    damaged = chiasm(*words, "--resume")
    assert damaged.code == 1
    damaged.assert_said("--resume", "last.ckpt", "damaged")

    (out / "training.yaml").write_text("batch: many\n")
    edited = chiasm(*words, "--resume")
    assert edited.code == 1
    edited.assert_said("--resume", "training.yaml")


def test_a_model_that_exists_is_replaced_only_when_told(chiasm, dataset, out):
    words = command(dataset, out, iterations=2, checkpoint_every=1)
    assert chiasm(*words).code == 0
    before = (out / "model.safetensors").read_bytes()
    again = chiasm(*words)
    assert again.code == 1
    again.assert_said("-o", out, "already holds a model", "--overwrite")
    assert (out / "model.safetensors").read_bytes() == before
    assert chiasm(*command(dataset, out, iterations=1, seed=3), "--overwrite").code == 0
    assert (out / "model.safetensors").read_bytes() != before
    # Of the run before nothing is left that could be resumed.
    assert "last.ckpt" not in files_below(out)


def test_a_folder_with_one_subject(chiasm, tmp_path, out):
    """Two sessions of one person are one subject: no image of it may validate another."""
    for session in ("ses-1", "ses-2"):
        save_nifti(tmp_path / "flat" / f"sub-01_{session}_T1w.nii.gz", brain())
    result = chiasm(*command(tmp_path / "flat", out))
    assert result.code == 1
    result.assert_said("-i", "1 subject", "at least 2")
    assert not out.exists()


def test_a_folder_without_the_target(chiasm, tmp_path, out):
    scan = save_nifti(tmp_path / "in" / "sub-01_PDw.nii.gz", brain())
    result = chiasm(*command(scan.parent, out))
    assert result.code == 1
    result.assert_said("-i", scan.parent, "holds no T1w image")
    assert not out.exists()


def test_a_subject_that_cannot_be_read(chiasm, dataset, out):
    path = dataset / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    result = chiasm(*command(dataset, out))
    assert result.code == 1
    result.assert_said("-i", path, "truncated")
    assert not out.exists()


def test_a_subject_without_labels(chiasm, dataset, out):
    (dataset / "sub-02" / "anat" / "sub-02_dseg.nii.gz").unlink()
    result = chiasm(*command(dataset, out, "segmenter"))
    assert result.code == 1
    result.assert_said("-i", "sub-02_T1w.nii.gz", "has no label map", "sub-02_dseg.nii.gz")
    assert not out.exists()


def test_a_config_file_under_the_command_line(chiasm, dataset, out, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"iterations": 50, "batch": 3, "network": UNET}))
    given = ("--target", "T1w", "--method", "regression", "--config", recipe)
    rest = ("iterations=1", "precision=32-true")
    assert chiasm("train", "-i", dataset, "-o", out, *given, *rest).code == 0
    settings = json.loads((out / "config.json").read_text())["training"]["settings"]
    assert (settings["iterations"], settings["batch"]) == (1, 3)


@pytest.mark.parametrize("content", [None, "- a\n- list\n", "a: [\n", b"\xff\xfe\x00"])
def test_a_config_file_that_is_none(chiasm, dataset, out, tmp_path, content):
    recipe = tmp_path / "recipe.yaml"
    if content is not None:
        recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = chiasm(*command(dataset, out), "--config", recipe)
    assert result.code == 1
    result.assert_said("--config", recipe, "YAML" if content is None else "")
    assert not out.exists()


def test_a_full_disk_leaves_no_model(chiasm, dataset, out, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    result = chiasm(*command(dataset, out, iterations=1))
    assert result.code == 1
    result.assert_said("No space left on device")
    assert not set(MODEL) & {name.rsplit("/", 1)[-1] for name in files_below(out)}
    assert not list(out.glob(".*"))
