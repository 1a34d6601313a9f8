"""The foreign networks, the lattice that they work on, and the registration of whole heads."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

import foreign
import foreign_cases
import foreign_networks
from chiasm.image.resample import resample_onto
from chiasm.image.volume import LabelVolume, Volume
from foreign_networks import MeshNet, MindGrab, RobustTissue, lattice, on_field


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.foreign_models(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(autouse=True)
def small_field(monkeypatch):
    monkeypatch.setattr(foreign_networks, "FIELD", 32)


def test_meshnet_is_its_definition(folder):
    """Against the sum over taps, for which the kernel's axes need no reordering."""
    values = np.fromfile(folder / "meshnet" / "model20chan3cls" / "model.bin", "<f4")
    x = np.random.default_rng(0).random((6, 7, 8, 1), np.float32)
    image, at = x, 0
    for dilation in (1, 2, 4, 8, 16, 8, 4, 2, 1, 0):
        width, given, made = (3, image.shape[-1], 2) if dilation else (1, 2, 3)
        kernel = values[at : at + width**3 * given * made].reshape(width, width, width, given, made)
        at += kernel.size
        pad = dilation * (width // 2)
        padded = np.pad(image, [(pad, pad)] * 3 + [(0, 0)])
        out = np.zeros((*x.shape[:3], made)) + values[at : at + made]
        at += made
        for tap in np.ndindex(width, width, width):
            i, j, k = (one * dilation for one in tap)
            out += padded[i : i + 6, j : j + 7, k : k + 8] @ kernel[tap]
        image = np.where(out > 0, out, np.expm1(np.minimum(out, 0))) if dilation else out
    network = MeshNet(folder / "meshnet" / "model20chan3cls").build()
    found = network(torch.from_numpy(x[..., 0])[None, None])[0].detach().numpy()
    np.testing.assert_allclose(found.transpose(1, 2, 3, 0), image, rtol=1e-3, atol=1e-4)


def test_robust_tissue_halves_and_restores_the_resolution(folder):
    network = RobustTissue(folder / "sae" / "robust_tissue").build()
    sizes, dilations = [], []
    for layer in network:
        if isinstance(layer, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            dilations.append(layer.dilation[0])
            layer.register_forward_hook(lambda _, x, y: sizes.append(y.shape[-1]))
    assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
    assert sizes == [8] * 5 + [4] * 6 + [8] * 7
    assert dilations == [1, 2, 4, 6, 8, 1, 10, 12, 16, 12, 10, 1, 8, 6, 4, 2, 1, 1]
    # No activation lies between the transposed convolution and the next one.
    kinds = [type(layer).__name__ for layer in network]
    assert kinds[kinds.index("ConvTranspose3d") + 1] == "Conv3d"


@pytest.mark.parametrize("kind", [MeshNet, RobustTissue, MindGrab])
def test_labels_do_not_depend_on_the_stored_order(folder, kind, tmp_path):
    name = {MeshNet: "meshnet/model20chan3cls", RobustTissue: "sae/robust_tissue"}
    network = kind(folder / name.get(kind, "meshnet/mindgrab"), cache=tmp_path)
    array = np.zeros((20, 21, 22), np.float32)
    array[4:15, 5:16, 6:17] = np.random.default_rng(1).random((11, 11, 11)) + 0.5
    volume = Volume(array, np.eye(4))
    found = network.segment(volume).labels
    assert found.same_grid(volume)
    legal = {0, *(label.value for label in network.values.values())}
    assert {*np.unique(found.array).tolist()} <= legal
    turned = Volume(array[::-1].transpose(2, 0, 1), np.eye(4)[:, [2, 0, 1, 3]] * [1, -1, 1, 1])
    again = network.segment(turned).labels.array
    assert (again.transpose(1, 2, 0)[::-1] == found.array).all()
    assert len([*tmp_path.iterdir()]) == 1  # the same image in the order LIA


def test_a_single_slice_is_segmented(folder):
    network = MeshNet(folder / "meshnet" / "model5_gw_ae", margin=2)
    plane = np.random.default_rng(2).random((12, 13, 1), np.float32) + 1
    volume = Volume(np.pad(plane, [(3, 3), (3, 3), (0, 0)]), np.diag([-1.0, -1, 1, 1]))
    assert network.segment(volume).labels.same_grid(volume)


@pytest.mark.parametrize("field", [0, 2000, 30000])
def test_range_is_that_of_the_whole_field(field):
    array = np.random.default_rng(3).gamma(2, 50, (9, 10, 11)).astype(np.float32)
    whole = np.concatenate([array.ravel(), np.zeros(max(0, field - array.size), np.float32)])
    low, high = np.quantile(whole, foreign_networks.QUANTILES, method="nearest")
    expected = np.clip((array - low) / (high - low), 0, 1)
    np.testing.assert_allclose(on_field(array, field), expected, atol=1e-5)


def test_lattice_covers_the_same_box():
    affine = np.diag([0.8, -0.8, 3.0, 1])
    affine[:3, 3] = 5, 60, -20
    volume = Volume(np.random.default_rng(4).random((40, 50, 12), np.float32), affine)
    grid = lattice(volume)
    assert grid.orientation == "LIA"
    np.testing.assert_allclose(grid.spacing, 1)
    assert grid.shape == (32, 36, 40)

    def centre(image):
        return image.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.affine[:3, 3]

    np.testing.assert_allclose(centre(grid), centre(volume), atol=1e-6)
    own = Volume(np.zeros((4, 5, 6)), np.eye(4))
    assert resample_onto(own, lattice(own)).shape == (4, 6, 5)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_thicker_slices_are_means_at_the_middle_of_what_they_cover(order):
    affine = np.diag([1.0, 1, -1.25, 1])[:, [*order, 3]]
    affine[:3, 3] = 3, -7, 40
    shape = tuple(np.array((4, 5, 21))[list(order)])
    heights = (np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3])[..., 2]
    thick = foreign_cases.thicker(Volume(heights, affine), 5)
    assert thick.shape[order.index(2)] == 5  # of four slices each; one is left over
    places = np.moveaxis(np.indices(thick.shape), 0, -1)
    expected = (places @ thick.affine[:3, :3].T + thick.affine[:3, 3])[..., 2]
    np.testing.assert_allclose(thick.array, expected)


def test_dice_counts_the_voxels_inside():
    a, b = np.zeros((2, 4, 4, 1), np.int16)
    a[0], b[0], b[1], a[3], b[3] = 2, 2, 2, 3, 3
    found, reference = (LabelVolume(one, np.eye(4)) for one in (a, b))
    whole = foreign.dice(found, reference)
    assert whole == pytest.approx({"dice_grey": 2 / 3, "dice_white": 1, "dice": 5 / 6})
    inside = np.ones((4, 4, 1), bool)
    inside[1], inside[3] = False, False
    assert foreign.dice(found, reference, inside) == {
        "dice_grey": 1, "dice_white": None, "dice": 1
    }  # fmt: skip


def test_a_t1_agrees_with_itself_on_another_grid(folder):
    network = MeshNet(folder / "meshnet" / "model20chan3cls", margin=2)
    array = np.zeros((16, 16, 16), np.float32)
    array[3:13, 3:13, 3:13] = np.random.default_rng(5).random((10, 10, 10)) + 0.5
    real = Volume(array, np.eye(4), modality="T1w")
    turned = Volume(array.transpose(1, 0, 2), np.eye(4)[:, [1, 0, 2, 3]])
    scores = foreign.foreign_agreement(turned, real, network)
    assert all(value in (1, None) for value in scores.values())
    assert scores["dice"] == 1


def test_differences_pair_subjects():
    def row(subject, method, dice, session="", view="brain"):
        names = {"set": "s", "subject": subject, "session": session, "source": "T2w", "view": view}
        names |= {"measure": "agreement", "method": method, "network": "n", "model": ""}
        return names | dict.fromkeys(foreign.SCORES, dice)

    rows = [row(k, "robust_tissue", 0.5) for k in "abc"]
    rows += [row("a", "m", 0.5, "1"), row("a", "m", 0.7, "2"), row("b", "m", 0.8)]
    rows += [row("a", "m", 0.0, "1", "whole head"), row("a", f"m{foreign.OF_REAL}", 0.9)]
    (line,) = foreign.differences(rows, "robust_tissue")
    assert line["method"] == "m − robust_tissue"
    assert line["subjects"] == 2
    assert line["dice"]["mean"] == pytest.approx(0.2)
    low, high = line["dice"]["interval"]
    assert low < 0.2 < high


def test_rows_of_other_weights_are_not_summarised():
    """Of the translator, or of the segmenter that made the labels."""
    weights = SimpleNamespace(fingerprint="translator 1")
    own = SimpleNamespace(identity=lambda: {"model": "segmenter 1"})
    compared = foreign.Compared(
        {"m": SimpleNamespace(model=weights)}, [], SimpleNamespace(name="robust"), own, [], {}
    )

    def row(model, dice):
        names = {"set": "s", "subject": "a", "session": "", "source": "PDw", "view": "brain"}
        names |= {"measure": "accuracy", "method": "m", "network": "own", "model": model}
        return names | dict.fromkeys(foreign.SCORES, dice)

    rows = [row("translator 1, segmenter 1", 0.5), row("translator 1, segmenter 2", 0.9)]
    rows += [row("translator 2, segmenter 1", 0.9)]
    (line,) = foreign.summary(rows, compared)
    assert line["dice"]["mean"] == 0.5


@pytest.mark.long
def test_registration_finds_a_known_shift():
    pytest.importorskip("SimpleITK")
    from chiasm.phantom import Settings, subject
    from rigid import aligned

    brain = subject(3, Settings(modalities=("T1w", "PDw"), spacing=3, head=True))
    fixed, t1 = brain.volumes["PDw"], brain.volumes["T1w"]
    angle = np.deg2rad(6)
    moved = np.eye(4)
    moved[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    moved[:3, 3] = 5, -8, 6
    back = aligned(Volume(t1.array, moved @ t1.affine, modality="T1w"), fixed)
    corners = np.array([[0, 0, 0, 1], [*t1.shape, 1]]).T
    error = np.linalg.norm((back.affine @ corners - t1.affine @ corners)[:3], axis=0)
    assert error.max() < 2  # mm
