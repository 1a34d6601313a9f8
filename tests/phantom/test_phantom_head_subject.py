"""A subject from a label map: its grid, labels, scans and records. Heads of 4 cm, for speed."""

import json
import warnings

import numpy as np
import pytest

from chiasm.errors import CaseError, UsageError
from chiasm.phantom import Settings
from chiasm.phantom.dataset import subject_seed, write_dataset
from chiasm.phantom.head_subject import head_subject, label_map_of, label_maps
from chiasm.phantom.structures import TISSUE_OF, TISSUE_VALUES, structures_of


@pytest.fixture(scope="module")
def make(anatomies):
    def made(seed=0, **settings):
        values = {"spacing": 2.0, "modalities": ("T1w",), **settings}
        return head_subject(seed, Settings(anatomies=anatomies, **values), label_maps(anatomies))

    return made


@pytest.fixture(scope="module")
def headed(make):
    return make(1, head=True, modalities=("T1w", "T2w", "CT"))


def test_the_same_seed_gives_the_same_subject_and_another_another(make):
    one, again, other = make(3), make(3), make(4)
    np.testing.assert_array_equal(one.volumes["T1w"].array, again.volumes["T1w"].array)
    np.testing.assert_array_equal(one.labels.array, again.labels.array)
    assert one.parameters == again.parameters
    assert one.labels.shape != other.labels.shape or (one.labels.array != other.labels.array).any()


def test_modalities_do_not_change_each_other(make):
    alone, both = make(3), make(3, modalities=("FLAIR", "T1w"))
    np.testing.assert_array_equal(alone.volumes["T1w"].array, both.volumes["T1w"].array)
    np.testing.assert_array_equal(alone.labels.array, both.labels.array)
    assert [*both.volumes] == ["FLAIR", "T1w"]


def test_several_label_maps_are_used(make):
    names = {f"person_{number}.nii.gz" for number in (1, 2, 3)}
    used = {make(seed).parameters["anatomy"] for seed in range(5)}
    assert len(used) > 1
    assert used <= names


def test_one_grid_around_the_origin(headed):
    shape = headed.labels.shape
    for volume in headed.volumes.values():
        assert volume.shape == shape
        np.testing.assert_array_equal(volume.affine, headed.labels.affine)
        assert volume.array.dtype == np.float32
    affine = headed.labels.affine
    np.testing.assert_allclose(np.diag(affine), [2, 2, 2, 1])
    middle = affine @ [*((np.array(shape) - 1) / 2), 1]
    np.testing.assert_allclose(middle[:3], 0, atol=1e-9)


@pytest.mark.parametrize("spacing", [1.0, 1.5, 2.0, 3.0])
def test_the_brain_keeps_its_volume_on_every_grid(make, make_head, spacing):
    """Within the random change of size, which is at most 15 % along each axis."""
    labels = structures_of(make_head((40, 46, 40)), "x")
    tissue = np.array([TISSUE_VALUES[one] for one in TISSUE_OF])[labels]
    wanted = np.isin(tissue, (2, 3)).sum()
    subject = make(5, spacing=spacing)
    found = np.isin(subject.labels.array, (2, 3)).sum() * spacing**3
    assert 0.6 * wanted < found < 1.6 * wanted


def test_a_stripped_scan_is_empty_outside_the_brain(make):
    subject = make(2, modalities=("T1w", "CT"))
    t1, ct = (subject.volumes[name].array for name in ("T1w", "CT"))
    labels = subject.labels.array
    assert {*np.unique(labels)} <= {0, 1, 2, 3, 4}
    assert {1, 2, 3} <= {*np.unique(labels)}
    outside = ct == -1000
    assert (t1[outside] == 0).all()
    assert (labels[outside] == 0).all()
    assert 0.5 < outside.mean() < 1
    # A brain mask holds no more than the labelled tissue and what it cannot tell from it.
    assert (~outside & (labels == 0)).sum() < 0.3 * (labels > 0).sum()


def test_a_whole_head_has_noise_in_the_air_and_a_rim_around_it(headed):
    t1, ct = (headed.volumes[name].array for name in ("T1w", "CT"))
    parameters = headed.parameters
    for face in (t1[0], t1[-1], t1[:, 0], t1[:, -1]):
        sigma = parameters["T1w"]["noise_sigma"]
        assert face.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.1)
    air = ct[:2]
    assert air.mean() == pytest.approx(-1000, abs=2)
    assert air.std() == pytest.approx(parameters["CT"]["noise_sigma"], rel=0.1)
    assert (ct > 300).sum() > 100  # the skull
    assert headed.volumes["CT"].units == "HU"
    assert headed.volumes["T1w"].units == "a.u."


def test_tissues_have_the_contrast_of_their_modality(headed):
    labels = headed.labels.array
    mean = {
        name: [volume.array[labels == value].mean() for value in (1, 2, 3)]
        for name, volume in headed.volumes.items()
    }
    assert mean["T1w"][0] < mean["T1w"][1] < mean["T1w"][2]
    assert mean["T2w"][0] > mean["T2w"][1] > mean["T2w"][2]
    recorded = headed.parameters["T1w"]
    expected = abs(mean["T1w"][1] - mean["T1w"][2]) / recorded["noise_sigma"]
    assert recorded["cnr_grey_white"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("option", ["lesions", "tumours", "resections"])
def test_disease_is_there_if_it_is_asked_for_and_only_then(make, option):
    healthy, sick = make(6), make(6, **{option: True})
    assert not (healthy.labels.array == 4).any()
    if option == "resections":
        before, after = (np.isin(one.labels.array, (2, 3)).sum() for one in (healthy, sick))
        assert after < 0.8 * before
        assert not (sick.labels.array == 4).any()
    else:
        assert (sick.labels.array == 4).any()


def test_slices_are_axial_unless_any_plane_is_wanted(make):
    every = ("T1w", "PDw", "T2w", "FLAIR", "T1ce", "T2starw", "CT")

    def planes(seed, **settings):
        drawn = make(seed, modalities=every, **settings).parameters
        return {drawn[name]["plane"] for name in every}

    assert planes(0) == {"axial"}
    assert planes(0, any_plane=True) | planes(1, any_plane=True) == {
        *("axial", "coronal", "sagittal")
    }


@pytest.mark.parametrize("seed", range(3))
def test_slices_are_thick_along_the_axis_of_their_plane(make, seed):
    subject = make(seed, spacing=1, thickness=(7, 7), any_plane=True, head=True)
    recorded = subject.parameters["T1w"]
    assert recorded["slice_thickness_mm"] == 7
    axis = ("sagittal", "coronal", "axial").index(recorded["plane"])
    array = subject.volumes["T1w"].array
    # Without the noise, whose bends are the same along every axis, thick slices hold few bends.
    bends = [np.abs(np.diff(array, 2, axis=k)).mean() for k in range(3)]
    assert int(np.argmin(bends)) == axis


def test_artefacts_change_mr_and_not_ct(make):
    clean, disturbed = (
        make(2, modalities=("T1w", "CT"), artefacts=artefacts) for artefacts in (False, True)
    )
    np.testing.assert_array_equal(clean.volumes["CT"].array, disturbed.volumes["CT"].array)
    assert (clean.volumes["T1w"].array != disturbed.volumes["T1w"].array).any()
    np.testing.assert_array_equal(clean.labels.array, disturbed.labels.array)


def test_a_grid_too_coarse_for_a_tissue_still_gives_legal_records(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subject = make(0, spacing=8, modalities=("T1w", "CT"))
    text = json.dumps(subject.parameters, allow_nan=False)
    assert "cnr_csf_grey" in text
    assert np.isfinite(subject.volumes["T1w"].array).all()


def test_a_negative_seed_is_refused(make):
    with pytest.raises(UsageError, match="--seed -1: is negative"):
        make(-1)


def test_label_maps_are_found_below_the_folder_in_order(tmp_path, save_labels, make_head):
    labels = make_head((8, 8, 8))
    wanted = [save_labels(tmp_path / name, labels) for name in ("a/2.nii.gz", "b/1.nii")]
    (tmp_path / "LICENSE.txt").write_text("free")
    assert label_maps(tmp_path) == wanted
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        with pytest.raises(CaseError, match=r"--anatomies .*: holds no label map"):
            label_maps(folder)


def test_an_unknown_label_is_named(tmp_path, save_labels, make_head):
    labels = make_head((16, 16, 16))
    labels[8, 8, 8] = 1035
    save_labels(tmp_path / "parcels.nii.gz", labels)
    with pytest.raises(CaseError, match=r"parcels\.nii\.gz: has the unknown labels 1035"):
        head_subject(0, Settings(anatomies=tmp_path), label_maps(tmp_path))


def test_nothing_is_written_if_a_label_map_of_a_later_subject_cannot_be_used(
    tmp_path, save_labels, make_head
):
    maps, out = tmp_path / "maps", tmp_path / "out"
    maps.mkdir()
    save_labels(maps / "a.nii.gz", make_head((32, 32, 32)))
    odd = make_head((32, 32, 32))
    odd[16, 16, 16] = 1035
    save_labels(maps / "b.nii.gz", odd)
    settings = Settings(anatomies=maps, modalities=("T1w",), spacing=2)
    of_each = [
        label_map_of(subject_seed(1, number), label_maps(maps)).name for number in range(1, 9)
    ]
    assert of_each[0] == "a.nii.gz"
    assert "b.nii.gz" in of_each
    with pytest.raises(CaseError, match=r"b\.nii\.gz: has the unknown labels 1035"):
        write_dataset(out, subjects=8, seed=1, settings=settings)
    assert not out.exists()
