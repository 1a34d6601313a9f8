"""What benchmarks/adapters.py gives to the command, and how it compares label maps."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import yaml

import adapters
from chiasm.image.volume import Label, LabelVolume
from chiasm.segmenters.network_file import NetworkDescription
from foreign_networks import MeshNet, MindGrab


@pytest.mark.parametrize(("kind", "name"), [(MeshNet, "model20chan3cls"), (MindGrab, "mindgrab")])
def test_a_network_is_the_same_as_torchscript(kind, name, tmp_path):
    network = kind(tiny.foreign_models(tmp_path / "foreign") / "meshnet" / name)
    path = adapters.torchscript(network, tmp_path)
    x = torch.rand((1, 1, 22, 18, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network.build().eval()(x)
        found = torch.jit.load(path)(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    told = NetworkDescription.model_validate(yaml.safe_load(path.with_suffix(".yaml").read_text()))
    assert told.labels == {0: "background"} | {k: one.name for k, one in network.values.items()}
    assert (told.orientation, told.range, told.within) == ("LIA", ("p2", "p98"), "field")


def test_the_description_of_multiaxial_is_legal(tmp_path):
    path = adapters.multiaxial(tmp_path / "foreign", tmp_path)
    told = NetworkDescription.model_validate(yaml.safe_load(path.read_text()))
    assert told.network == str(tmp_path / "foreign" / "multiaxial" / "axial_model.onnx")
    assert told.labels[3] == "white matter"


def test_dice_is_that_of_structures_of_the_same_name():
    names = {0: "background", 1: "grey matter", 2: "white matter", 3: "skin"}
    ours = {0: "background", 1: "CSF", 2: "grey", 3: "white"}
    found = np.array([1, 1, 2, 2, 3, 0]).reshape(1, 1, 6)
    truth = np.array([2, 3, 3, 3, 0, 1]).reshape(1, 1, 6)
    maps = [
        LabelVolume(array, np.eye(4), tuple(Label(k, one, "#000000") for k, one in told.items()))
        for array, told in ((found, names), (truth, ours))
    ]
    assert adapters.dice(*maps) == pytest.approx({"dice_grey": 2 / 3, "dice_white": 4 / 5})


def test_programs_are_rows_only_if_they_are_given(tmp_path):
    bench = adapters.Bench(tmp_path / "scan.nii.gz", tmp_path, tmp_path)
    none = SimpleNamespace(nnunet=None, samseg=None, deepbet=None)
    plain = adapters.trials(bench, none)
    more = adapters.trials(bench, SimpleNamespace(nnunet=tmp_path, samseg=None, deepbet=None))
    assert {*more} - {*plain} == {"nnunet"}
    assert more["nnunet"]().given == str(tmp_path)
    assert plain["hangs"]().name.endswith("limit 6 s")
