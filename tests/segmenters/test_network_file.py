"""Networks of others in TorchScript and ONNX files."""

import os
import signal

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper

from chiasm.errors import CaseError, UsageError
from chiasm.image.volume import Volume
from chiasm.segmenters import network_file, torchscript
from chiasm.segmenters.load import load_segmenter

PLAIN = {"labels": {0: "background", 1: "bright"}, "range": [0, 100], "clip": False}


class Bright(torch.nn.Module):
    """Class 1 where the first channel is above one half."""

    def __init__(self, last=False):
        super().__init__()
        self.last = last

    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], dim=-1 if self.last else 1)


class Corner(torch.nn.Module):
    """Class 1 at the beginning of the first axis of the input."""

    def forward(self, x):
        half = x.shape[2] // 2
        first = torch.cat([torch.ones_like(x[:, :, :half]), torch.zeros_like(x[:, :, half:])], 2)
        return torch.cat([1 - first, first], dim=1)


class Places(torch.nn.Module):
    """Class 1 where the coordinate along one axis is at least 0."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, x, places):
        at = places[:, self.axis : self.axis + 1] + 1e-4
        return torch.cat([-at, at], dim=1)


class Picky(torch.nn.Module):
    """As `Bright`, for 20 voxels along the last axis only."""

    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], dim=1).reshape(1, 2, 22, 26, 20)


@pytest.fixture(scope="module")
def scan():
    """A scan that is not symmetric, in the order LPS."""
    array = np.random.default_rng(5).uniform(2, 40, (22, 26, 20)).astype(np.float32)
    array[3:16, 5:20, 4:14] += 50
    affine = np.diag([-1.0, -1.2, 1.5, 1])
    affine[:3, 3] = 12, 30, 7
    return Volume(array, affine, modality="T1w")


class Here:
    """A worker in this process, because to start another one takes seconds."""

    alive = True

    def __init__(self, kind, path, device):
        self.run = torchscript.engine(path, device)

    def call(self, arrays, seconds):
        return self.run(arrays)


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Save a module and its settings, and load the segmenter; it runs in this process."""

    def save(module, here=True, **settings):
        if here:
            monkeypatch.setattr(network_file, "Worker", Here)
        path = tmp_path / "net.ts"
        torch.jit.script(module.eval()).save(str(path))
        path.with_suffix(".yaml").write_text(yaml.safe_dump(PLAIN | settings))
        return load_segmenter(path)

    return save


def whole(scan):
    return np.ones(scan.shape, bool)


def test_labels_are_those_of_the_definition(network, scan):
    segmenter = network(Bright(), here=False, modality="T1")
    segmenter.load()
    made = segmenter.segment(scan, whole(scan))
    np.testing.assert_array_equal(made.labels.array, scan.array > 50)
    assert made.labels.same_grid(scan)
    assert [one.name for one in made.labels.labels] == ["background", "bright"]
    assert segmenter.modality == "T1w"


@pytest.mark.parametrize("plane", [None, "axial", "coronal", "sagittal"])
@pytest.mark.parametrize("last", [False, True])
def test_slices_volumes_and_the_axis_of_channels(network, scan, plane, last):
    made = network(Bright(last), plane=plane, channels_last=last).segment(scan, whole(scan))
    np.testing.assert_array_equal(made.labels.array, scan.array > 50)


@pytest.mark.parametrize("size", [None, 32, [32, 40, 28]])
def test_the_size_of_the_input_changes_no_label(network, scan, size):
    made = network(Bright(), size=size).segment(scan, whole(scan))
    np.testing.assert_array_equal(made.labels.array, scan.array > 50)


@pytest.mark.parametrize("way", ["LIA", "RAS", "PSR", "AIL"])
def test_the_orientation_is_that_of_the_settings(network, scan, way):
    made = network(Corner(), orientation=way).segment(scan, whole(scan)).labels
    # Where the first axis of the input begins, in scanner millimetres.
    axis = next(k for k, pair in enumerate(("RL", "AP", "SI")) if way[0] in pair)
    at = np.argwhere(made.array == 1) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    middle = (np.array(scan.shape) - 1) / 2 @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    side = np.sign(at[:, axis] - middle[axis])
    assert set(np.unique(side)) == {-1.0 if way[0] in "RAS" else 1.0}
    assert np.count_nonzero(made.array) == scan.array.size // 2


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("plane", [None, "axial", "coronal", "sagittal"])
def test_coordinates_follow_the_orientation(network, scan, axis, plane):
    segmenter = network(Places(axis), coordinates=True, plane=plane)
    made = segmenter.segment(scan, whole(scan)).labels.array
    # The orientation is RAS, and the scan is stored as LPS: both in-plane axes are flipped.
    turned = np.flip(np.moveaxis(made, axis, 0), 0 if axis < 2 else ())
    half = scan.shape[axis] // 2
    assert not turned[:half].any()
    assert turned[half:].all()


def test_percentiles_of_the_foreground_and_of_the_field(network, scan):
    inside = scan.array > 50
    of_foreground = network(Bright(), range=["p0", "p100"], brain_only=True)
    made = of_foreground.segment(scan, inside).labels.array
    low, high = scan.array[inside].min(), scan.array[inside].max()
    np.testing.assert_array_equal(made == 1, inside & (scan.array > (low + high) / 2))
    of_field = network(Bright(), range=["p0", "p100"], within="field")
    made = of_field.segment(scan, whole(scan)).labels.array
    low, high = scan.array.min(), scan.array.max()
    np.testing.assert_array_equal(made == 1, scan.array > (low + high) / 2)


def test_z_scores(network, scan):
    made = network(Bright(), range="z-score").segment(scan, whole(scan)).labels.array
    limit = scan.array.mean() + scan.array.std() / 2
    np.testing.assert_array_equal(made == 1, scan.array > limit)


def test_coarse_voxels_come_back_on_the_scan(network, scan):
    made = network(Bright(), spacing=3).segment(scan, whole(scan)).labels
    assert made.same_grid(scan)
    core = np.zeros(scan.shape, bool)
    core[6:13, 8:17, 6:12] = True
    assert made.array[core].all()
    far = np.ones(scan.shape, bool)
    far[0:19, 2:23, 1:17] = False
    assert not made.array[far].any()


def test_onnx(tmp_path, scan):
    pytest.importorskip("onnxruntime")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "i", "j", "k"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, "i", "j", "k"])
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    nodes = [
        helper.make_node("Sub", ["half", "x"], ["dark"]),
        helper.make_node("Neg", ["dark"], ["light"]),
        helper.make_node("Concat", ["dark", "light"], ["y"], axis=1),
    ]
    graph = helper.make_graph(nodes, "bright", [x], [y], [half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "net.onnx")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(PLAIN | {"network": "net.onnx"}))
    segmenter = load_segmenter(tmp_path / "other.yaml")
    made = segmenter.segment(scan, whole(scan))
    np.testing.assert_array_equal(made.labels.array, scan.array > 50)
    two = load_segmenter(tmp_path / "other.yaml")
    two.description = two.description.model_copy(update={"coordinates": True})
    with pytest.raises(CaseError, match="has 1 inputs, and 2 were given"):
        two.segment(scan, whole(scan))


def test_a_network_that_fails_and_a_process_that_dies_cost_one_case(network, scan):
    segmenter = network(Picky(), here=False)
    small = Volume(scan.array[:, :, :16], scan.affine)
    with pytest.raises(CaseError, match="net: failed ") as error:
        segmenter.segment(small, whole(small))
    assert "\n" not in str(error.value)
    assert segmenter.worker.alive
    made = segmenter.segment(scan, whole(scan))
    np.testing.assert_array_equal(made.labels.array, scan.array > 50)
    os.kill(segmenter.worker._process.pid, signal.SIGKILL)
    segmenter.worker._process.wait()
    # It is started again.
    made = segmenter.segment(scan, whole(scan))
    np.testing.assert_array_equal(made.labels.array, scan.array > 50)
    number = segmenter.worker._process.pid
    os.kill(number, signal.SIGSTOP)
    segmenter.description = segmenter.description.model_copy(update={"time_limit": 0.02})
    with pytest.raises(CaseError, match="did not answer within its time limit"):
        segmenter.segment(scan, whole(scan))
    assert not segmenter.worker.alive


def test_outputs_of_another_shape(network, scan):
    names = {0: "background", 1: "a", 2: "b"}
    with pytest.raises(CaseError, match=r"returned an array of 1×2×.*legal: 1×3×"):
        network(Bright(), labels=names).segment(scan, whole(scan))


def test_a_head_that_is_too_large_for_the_network(network, scan):
    with pytest.raises(CaseError, match="legal: at most 24×24×24 voxels"):
        network(Bright(), size=24).segment(scan, whole(scan))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"labels": {0: "background"}}, "illegal setting labels"),
        ({"labels": {0: "background", 2: "a"}}, "counted from 0"),
        ({"orientation": "RAX"}, "R or L, A or P, and S or I"),
        ({"range": ["p2", "p180"]}, "percentiles such as p2"),
        ({"plane": "oblique"}, "illegal setting plane 'oblique'"),
        ({"size": [4, 4]}, "size is one number, or 3 numbers"),
        ({"size": 32, "divisible_by": 8}, "divisible_by changes nothing where size is given"),
        ({"spacing": 0}, "illegal setting spacing"),
        ({"network": "gone.ts"}, "gone.ts: is not the file of a network"),
    ],
)
def test_settings_that_are_refused(network, settings, problem):
    with pytest.raises(UsageError, match=problem) as error:
        network(Bright(), **settings)
    assert "\n" not in str(error.value)


def test_a_file_without_a_description_and_a_damaged_one(tmp_path):
    path = tmp_path / "net.ts"
    path.write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"net\.yaml: is not there; legal: a YAML file"):
        load_segmenter(path)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(PLAIN))
    with pytest.raises(UsageError, match=r"net\.ts: cannot be loaded"):
        load_segmenter(path).load()
