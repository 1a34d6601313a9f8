"""The commands as Python functions: a path, a `Volume` and a nibabel image agree."""

import nibabel as nib
import numpy as np
import pytest
from command_samples import AFFINE, SHAPE, TISSUE_NAMES, brain, load, save_nifti

import chiasm as package
from chiasm import CaseError, UsageError


@pytest.fixture(params=["path", "text", "volume", "nibabel"])
def image(request, scan):
    """The same scan in each form that a function takes."""
    if request.param == "path":
        return scan
    if request.param == "text":
        return str(scan)
    return package.read(scan) if request.param == "volume" else nib.load(scan)


@pytest.fixture
def commanded(chiasm, scan, out, regression, segmenter):
    """What `chiasm run` makes of the scan: the image and the labels."""
    words = ("-i", scan, "-o", out, "--model", regression, "--segmenter", segmenter)
    assert chiasm("run", *words).code == 0
    return load(out / "sub-01_T1w.nii.gz"), load(out / "sub-01_dseg.nii.gz")


def test_translate_segment_and_run_agree_with_the_command(image, commanded, regression, segmenter):
    made = package.translate(image, model=regression)
    assert (made.modality, made.shape) == ("T1w", SHAPE)
    np.testing.assert_array_equal(made.affine, AFFINE)
    np.testing.assert_array_equal(made.array, commanded[0])
    both = package.run(image, model=regression, segmenter=segmenter)
    np.testing.assert_array_equal(both[0].array, commanded[0])
    np.testing.assert_array_equal(both[1].array, commanded[1])
    labels = package.segment(image, segmenter=segmenter)
    assert labels.shape == SHAPE
    assert [label.name for label in labels.labels] == list(TISSUE_NAMES)


def test_options_are_those_of_the_command(chiasm, scan, out, diffusion):
    path = out / "a.nii.gz"
    words = ("--method", "sdedit", "--steps", 4, "--scheduler", "dpm++", "--seed", 2)
    assert chiasm("translate", "-i", scan, "-o", path, "--model", diffusion, *words).code == 0
    made = package.translate(
        scan, model=diffusion, method="sdedit", steps=4, scheduler="dpm++", seed=2
    )
    np.testing.assert_array_equal(made.array, load(path))


def test_a_mask_in_every_form(scan, regression):
    array = (brain() > 0).astype(np.uint8)
    path = save_nifti(scan.parent / "sub-01_mask.nii.gz", array)
    forms = (path, str(path), array, array.astype(bool), package.read(path), nib.load(path))
    made = [package.translate(scan, model=regression, mask=one).array for one in forms]
    for one in made[1:]:
        np.testing.assert_array_equal(one, made[0])


def test_a_nibabel_image_in_microns_is_read_in_microns(scan, regression):
    image = nib.Nifti1Image(brain(), np.diag([1000, 1000, 1000, 1.0]) @ AFFINE)
    image.header.set_xyzt_units("micron")
    made = package.translate(image, model=regression, modality="PD")
    np.testing.assert_allclose(made.affine, AFFINE)
    np.testing.assert_array_equal(made.array, package.translate(scan, model=regression).array)


def test_translate_then_evaluate_in_memory(scan, regression):
    made = package.translate(scan, model=regression, method="none")
    scores = package.evaluate(made, scan, mask=np.asarray(brain() > 0))
    assert scores.image.mae > 0
    assert package.evaluate(scan, nib.load(scan)).image.mae == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "nope"}, UsageError, "--model nope"),
        ({"method": "nope"}, UsageError, "--method nope"),
        ({"to": "T2"}, UsageError, "--to T2w"),
        ({"batch": 0}, UsageError, "--batch 0"),
        ({"device": "banana"}, UsageError, "--device banana"),
        ({"image": "nowhere.nii.gz"}, CaseError, "nowhere.nii.gz: does not exist"),
        ({"image": nib.Nifti1Image(np.ones((20, 20, 4, 2)), AFFINE)}, CaseError, "one volume"),
        ({"image": nib.Nifti1Image(np.ones(SHAPE), AFFINE)}, CaseError, r"is constant \(all 1\)"),
        ({"image": nib.Nifti1Image(brain() * np.nan, AFFINE)}, CaseError, "NaN"),
        ({"image": nib.Nifti1Image(brain((12, 28, 6)), AFFINE)}, CaseError, "at least 16"),
        ({"mask": np.ones((3, 3, 3))}, CaseError, "--mask"),
        ({"mask": nib.Nifti1Image(brain(), 2 * AFFINE)}, CaseError, "--mask.* another grid"),
    ],
)
def test_errors_are_value_errors_of_one_line(changes, error, message, scan, regression):
    arguments = {"image": scan, "model": regression} | changes
    with pytest.raises(error, match=message) as caught:
        package.translate(arguments.pop("image"), **arguments)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value).splitlines()) == 1


def test_segment_checks_its_batch_too(scan, segmenter):
    with pytest.raises(UsageError, match="--batch 0"):
        package.segment(scan, segmenter=segmenter, batch=0)
