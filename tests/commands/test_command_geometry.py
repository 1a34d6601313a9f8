"""How a scan is stored, and in which plane it is thick, does not decide what is made of it."""

import json

import nibabel as nib
import numpy as np
import pytest
from command_samples import AFFINE, SHAPE, TARGET, brain, load, save_nifti
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

ORDERS = ("LAS", "LPS", "PIR", "ASL")
# A few steps of every method, and the tiny model that it is given.
METHODS = {
    "regression": ("regression", []),
    "histogram": ("regression", []),
    "none": ("regression", []),
    "paired": ("paired", []),
    "lmi-diffusion": ("diffusion", ["--steps", 2, "--seed", 3]),
    "sdedit": ("diffusion", ["--steps", 2, "--seed", 3]),
    "loss-guidance": ("diffusion", ["--steps", 1, "--seed", 3]),
}


def lopsided():
    """A brain that no mirroring or turning maps on itself."""
    image = brain(levels=(40, 100, 150))
    image[4:9, 6:12, 2:4] += 60 * (image[4:9, 6:12, 2:4] > 0)
    return image


def stored(array, affine, order):
    """The same scan with its voxels in another order: the array and its affine."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(order))
    return np.ascontiguousarray(apply_orientation(array, turn)), affine @ inv_ornt_aff(
        turn, array.shape
    )


def as_ras(path):
    """The voxels of a file in RAS order, and their affine."""
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj), image.affine


@pytest.fixture
def orders(tmp_path):
    """One scan and its mask in every storage order, RAS first: order → (scan, mask)."""
    made = {}
    for order in ("RAS", *ORDERS):
        scan, affine = stored(lopsided(), AFFINE, order)
        mask, _ = stored((lopsided() > 45).astype(np.uint8), AFFINE, order)
        made[order] = (
            save_nifti(tmp_path / order / "a_PDw.nii.gz", scan, affine),
            save_nifti(tmp_path / order / "brain.nii.gz", mask, affine),
        )
        assert "".join(nib.aff2axcodes(nib.load(made[order][0]).affine)) == order
    return made


@pytest.mark.parametrize("masked", [False, True], ids=["found", "given"])
@pytest.mark.parametrize("method", METHODS)
def test_every_translation_is_the_same(chiasm, method, masked, orders, out, request):
    model, options = METHODS[method]
    model = request.getfixturevalue(model)
    made = {}
    for order, (scan, mask) in orders.items():
        path = out / f"{order}.nii.gz"
        given = ("--model", model, "--method", method, *options, *(("--mask", mask) * masked))
        assert chiasm("translate", "-i", scan, "-o", path, *given).code == 0
        np.testing.assert_array_equal(nib.load(path).affine, nib.load(scan).affine)
        made[order], affine = as_ras(path)
        np.testing.assert_allclose(affine, AFFINE)
    inside = made["RAS"] != TARGET.background
    assert np.ptp(made["RAS"][inside]) > 1
    # A turned image is another one: what is tested could differ.
    assert (made["RAS"] != made["RAS"][::-1]).any()
    assert (made["RAS"] != made["RAS"][:, ::-1]).any()
    for order in ORDERS:
        np.testing.assert_array_equal(made[order], made["RAS"], err_msg=order)


@pytest.mark.parametrize("masked", [False, True], ids=["found", "given"])
def test_every_segmentation_is_the_same(chiasm, masked, orders, out, segmenter):
    made = {}
    for order, (scan, mask) in orders.items():
        path = out / f"{order}.nii.gz"
        given = ("--segmenter", segmenter, "--modality", "T1", *(("--mask", mask) * masked))
        assert chiasm("segment", "-i", scan, "-o", path, *given).code == 0
        made[order], _ = as_ras(path)
    assert len(np.unique(made["RAS"])) > 2
    assert (made["RAS"] != made["RAS"][::-1]).any()
    for order in ORDERS:
        np.testing.assert_array_equal(made[order], made["RAS"], err_msg=order)


def test_and_so_is_the_whole_way(chiasm, orders, out, regression, segmenter):
    made = {}
    for order, (scan, _) in orders.items():
        given = ("--model", regression, "--segmenter", segmenter)
        words = ("run", "-i", scan, "-o", out / order, *given, "--report", out / f"{order}.json")
        assert chiasm(*words).code == 0
        made[order] = [as_ras(out / order / f"a_{end}.nii.gz")[0] for end in ("T1w", "dseg")]
        (case,) = json.loads((out / f"{order}.json").read_text())["cases"]
        assert case["translation"]["orientation"] == order
    for order in ORDERS:
        for one, same in zip(made[order], made["RAS"], strict=True):
            np.testing.assert_array_equal(one, same, err_msg=order)


def sagittal_stack(tmp_path, slices):
    """A brain of a few sagittal slices, 12 mm thick, with slices of 40 × 36 voxels of 2 mm."""
    array = brain((slices, 40, 36), levels=(40, 100, 150))
    affine = np.array([[12.0, 0, 0, -60], [0, 2, 0, -40], [0, 0, 2, -36], [0, 0, 0, 1]])
    return save_nifti(tmp_path / "in" / "a_T2w.nii.gz", array, affine)


@pytest.mark.parametrize("slices", [12, 15])
@pytest.mark.parametrize("command", ["translate", "run"])
def test_a_stack_of_few_sagittal_slices(
    chiasm, command, slices, tmp_path, out, regression, segmenter
):
    """In axial planes it would have fewer than 16 rows; also with the check beforehand."""
    model = regression
    config = json.loads((model / "config.json").read_text()) | {"translatable_from": 0.0}
    knowing = tmp_path / "model"
    knowing.mkdir()
    (knowing / "config.json").write_text(json.dumps(config))
    (knowing / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    scan = sagittal_stack(tmp_path, slices)
    report = tmp_path / "r.json"
    words = ("-i", scan, "-o", out, "--model", knowing, "--report", report)
    more = ("--segmenter", segmenter) if command == "run" else ()
    axial = chiasm(command, *words, *more)
    assert axial.code == 1
    assert f"{slices} voxels" in axial.err
    result = chiasm(command, *words, *more, "--planes", "sagittal", "--overwrite")
    assert result.code == 0
    told = "works on sagittal slices" in result.err
    assert len(result.err.splitlines()) == told == (command == "run")
    assert load(out / "a_T1w.nii.gz").shape == (slices, 40, 36)
    (case,) = json.loads(report.read_text())["cases"]
    assert list(case["translation"]["planes"]) == ["sagittal"]


def test_shapes_of_one_scan_give_one_result(chiasm, tmp_path, out, regression):
    """A fourth axis of length 1, and NIfTI without compression, change nothing."""
    forms = {"a.nii.gz": lopsided(), "b.nii": lopsided(), "c.nii.gz": lopsided()[..., None]}
    made = []
    for name, array in forms.items():
        scan = save_nifti(tmp_path / "in" / name, array)
        path = out / name
        words = ("translate", "-i", scan, "-o", path, "--model", regression, "--modality", "PD")
        assert chiasm(*words).code == 0
        made.append(load(path).reshape(SHAPE))
    for one in made[1:]:
        np.testing.assert_array_equal(one, made[0])
