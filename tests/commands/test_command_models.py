"""Model folders that cannot be used: told once, before any scan is read, and nothing is run."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from command_samples import UNET, files_below
from safetensors.torch import load_file, save_file


class Touch:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def change(config, **values):
    path = config / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def other_weights(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights[next(iter(weights))] = torch.zeros(3)
    save_file(weights, path)


def missing_weight(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(iter(weights)))
    save_file(weights, path)


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Touch(folder / "executed")))


def checkpoint_alone(folder):
    no_weights(folder)
    torch.save({"weight": torch.zeros(3)}, folder / "last.ckpt")


def cut(name):
    def make(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-50])

    return make


def without_grid(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["grid"]
    path.write_text(json.dumps(config))


BROKEN = {
    "weights of another network": (other_weights, ["model.safetensors", "do not fit"]),
    "a weight missing": (missing_weight, ["model.safetensors", "do not fit"]),
    "no weights": (no_weights, ["model.safetensors", "does not exist"]),
    "a pickle by that name": (pickled, ["model.safetensors", "not a safetensors file"]),
    "a checkpoint alone": (checkpoint_alone, ["last.ckpt", "pickle"]),
    "truncated weights": (cut("model.safetensors"), ["not a safetensors file"]),
    "damaged config": (cut("config.json"), ["config.json", "Invalid JSON"]),
    "binary config": (
        lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
        ["config.json"],
    ),
    "later format": (lambda f: change(f, format_version=3), ["format_version", "2"]),
    "field missing": (without_grid, ["config.json", "grid"]),
    "field too many": (lambda f: change(f, colour="red"), ["config.json", "colour"]),
    "unknown target": (lambda f: change(f, target="T7w"), ["config.json", "T7w"]),
    "unknown method": (lambda f: change(f, method="magic"), ["config.json", "magic"]),
    "network without a name": (lambda f: change(f, network={}), ["config.json", "name"]),
    "network of other arguments": (
        lambda f: change(f, network=UNET | {"arguments": {"bogus": 1}}),
        ["config.json", "bogus"],
    ),
}


@pytest.fixture(params=BROKEN)
def broken(request, tmp_path, regression):
    """A model folder with one defect, and what must be said of it."""
    make, parts = BROKEN[request.param]
    folder = shutil.copytree(regression, tmp_path / "broken")
    make(folder)
    return folder, parts


def test_translate_tells_it_once_and_reads_no_scan(chiasm, broken, scan, out, opened):
    model, parts = broken
    second = shutil.copy(scan, scan.with_name("sub-02_PDw.nii.gz"))
    opened.clear()
    result = chiasm("translate", "-i", scan, "-i", second, "-o", out, "--model", model)
    assert result.code == 1
    result.assert_said("--model", model, *parts)
    assert files_below(out) == []
    assert [path for path in opened if scan.parent in path.parents] == []
    assert not (model / "executed").exists()


@pytest.mark.parametrize("command", ["segment", "run"])
def test_a_segmenter_is_named_as_such(chiasm, command, scan, out, regression, segmenter, tmp_path):
    folder = shutil.copytree(segmenter, tmp_path / "broken")
    pickled(folder)
    more = ("--model", regression) if command == "run" else ()
    result = chiasm(command, "-i", scan, "-o", out, "--segmenter", folder, *more)
    assert result.code == 1
    result.assert_said("--segmenter", folder, "not a safetensors file")
    assert files_below(out) == []


@pytest.mark.parametrize(
    ("settings", "part"),
    [({"steps": 0}, "diffusion.steps"), ({"bogus": 1}, "diffusion.bogus")],
)
def test_settings_of_a_diffusion(chiasm, settings, part, diffusion, scan, out, tmp_path):
    folder = shutil.copytree(diffusion, tmp_path / "broken")
    change(folder, settings={"guides": [{"name": "lmi"}], "diffusion": settings})
    result = chiasm("translate", "-i", scan, "-o", out, "--model", folder)
    assert result.code == 1
    result.assert_said("--model", part)
    assert files_below(out) == []


@pytest.mark.parametrize("method", ["none", "histogram"])
def test_a_method_without_a_network_needs_no_weights(
    chiasm, method, regression, scan, out, tmp_path
):
    folder = shutil.copytree(regression, tmp_path / "config alone")
    no_weights(folder)
    result = chiasm("translate", "-i", scan, "-o", out, "--model", folder, "--method", method)
    assert (result.code, result.err) == (0, "")
    assert files_below(out) == ["sub-01_T1w.nii.gz"]


def test_histograms_need_the_targets_quantiles(chiasm, regression, scan, out, tmp_path):
    folder = shutil.copytree(regression, tmp_path / "without")
    change(folder, quantiles=[])
    result = chiasm("translate", "-i", scan, "-o", out, "--model", folder, "--method", "histogram")
    assert result.code == 1
    result.assert_said("--model", "quantiles")
    assert files_below(out) == []
