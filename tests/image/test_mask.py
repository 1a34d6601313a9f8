"""Masks of every kind: what is inside, what is said about it, and what is refused."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from chiasm import api
from chiasm.errors import CaseError
from chiasm.image.mask import checked_foreground, fitted_mask, told_apart
from chiasm.image.volume import Label, LabelVolume, Volume
from chiasm.machine.device import Resources
from chiasm.pipeline import as_mask

SHAPE = (30, 34, 12)
AFFINE = np.array([[-0.5, 0, 0, 10], [0, 0.5, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])
INSIDE = (((np.indices(SHAPE).T - [15, 17, 6]) / [11, 13, 5]) ** 2).sum(-1).T <= 1
SCAN = Volume(np.where(INSIDE, np.random.default_rng(0).normal(500, 50, SHAPE), 0), AFFINE)
# Rises from 0 to 1 through the border of the truth: half of the maximum is the border.
GRADED = np.clip(
    0.5
    + (ndimage.distance_transform_edt(INSIDE) - ndimage.distance_transform_edt(~INSIDE)) / 8
    - 0.5 / 8,
    0,
    1,
)


def moved(millimetres, axis=0):
    affine = AFFINE.copy()
    affine[axis, 3] += millimetres
    return affine


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("top", [1, 7])
def test_zero_and_one_other_value_are_a_mask_of_any_type(kind, top):
    array = (INSIDE * top).astype(kind)
    for mask in (array, Volume(array, AFFINE)):
        inside, warnings = fitted_mask(mask, SCAN)
        assert inside.dtype == bool
        np.testing.assert_array_equal(inside, INSIDE)
        assert warnings == ()


def test_every_label_is_inside():
    labels = np.where(INSIDE, np.indices(SHAPE)[0] // 6 + 1, 0)
    for mask in (labels, Volume(labels, AFFINE), LabelVolume(labels, AFFINE)):
        inside, warnings = fitted_mask(mask, SCAN)
        np.testing.assert_array_equal(inside, INSIDE)
        assert warnings == ()
    # FreeSurfer's labels go up to 255 with gaps, and are no grey levels.
    far_apart = np.where(labels > 0, labels * 51, 0)
    assert far_apart.max() == 255
    np.testing.assert_array_equal(fitted_mask(far_apart, SCAN)[0], INSIDE)
    with_structures = LabelVolume(far_apart, AFFINE, (Label(255, "anterior", "#ffffff"),))
    np.testing.assert_array_equal(fitted_mask(with_structures, SCAN)[0], INSIDE)


@pytest.mark.parametrize("top", [1.0, 100.0, 255.0, 0.8])
def test_a_soft_mask_is_cut_at_half_of_its_maximum(top):
    inside, warnings = fitted_mask(Volume(GRADED * top, AFFINE), SCAN, name="soft.nii")
    np.testing.assert_array_equal(inside, INSIDE)
    (warning,) = warnings
    assert "--mask soft.nii" in warning
    assert f"{top / 2:.4g}" in warning


@pytest.mark.parametrize("top", [100, 255])
def test_whole_grey_levels_are_cut_at_half_too(top):
    ramp = np.round(np.linspace(0, top, int(np.prod(SHAPE)))).astype(np.uint8).reshape(SHAPE)
    inside, warnings = fitted_mask(ramp, SCAN)
    np.testing.assert_array_equal(inside, ramp >= top / 2)
    assert len(warnings) == 1


@pytest.mark.parametrize("millimetres", [0.004, 0.04, -0.04])
def test_less_than_a_tenth_of_a_voxel_aside_is_taken_with_a_warning(millimetres):
    mask = LabelVolume(INSIDE, moved(millimetres))
    inside, (warning,) = fitted_mask(mask, SCAN, name="near.nii")
    np.testing.assert_array_equal(inside, INSIDE)
    assert f"{abs(millimetres):g} mm" in warning


@pytest.mark.parametrize(("millimetres", "axis"), [(0.06, 0), (0.06, 1), (0.4, 2), (300, 0)])
def test_more_than_that_is_refused_with_both_grids_told_apart(millimetres, axis):
    mask = LabelVolume(INSIDE, moved(millimetres, axis))
    with pytest.raises(CaseError, match="another grid") as caught:
        fitted_mask(mask, SCAN, name="far.nii")
    message = str(caught.value)
    own, wanted = told_apart(mask, SCAN)
    assert own != wanted
    assert own in message
    assert wanted in message
    assert "resample" in message


def test_a_voxel_size_that_makes_the_far_end_differ_counts():
    grown = AFFINE @ np.diag([1.01, 1, 1, 1])  # 0.29 voxels at the far end
    with pytest.raises(CaseError, match="another grid"):
        fitted_mask(LabelVolume(INSIDE, grown), SCAN)
    slightly = AFFINE @ np.diag([1.002, 1, 1, 1])  # 0.06 voxels
    assert len(fitted_mask(LabelVolume(INSIDE, slightly), SCAN)[1]) == 1


def test_the_grids_show_their_difference_however_small():
    one, other = told_apart(LabelVolume(INSIDE, moved(1e-4)), SCAN)
    assert one != other
    assert "10.0001" in one


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (np.where(INSIDE, np.nan, 0), "NaN"),
        (np.where(INSIDE, np.inf, 0), "Inf"),
        (INSIDE * -1.0, "negative"),
        (np.zeros(SHAPE), "no voxel inside"),
        (np.zeros(SHAPE, bool), "no voxel inside"),
        (INSIDE[:-1], "shape"),
        (INSIDE[..., None], "shape"),
        (np.where(INSIDE, 700.25, 3.5), "fractions up to 700.25"),
        (INSIDE * 1j, "complex"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(mask, problem):
    with pytest.raises(CaseError, match=problem) as caught:
        fitted_mask(mask, SCAN, argument="--mask", name="m.nii")
    assert str(caught.value).startswith("--mask m.nii: ")
    assert "\n" not in str(caught.value)


def test_an_image_given_as_a_mask_is_said_to_be_one():
    image = np.where(INSIDE, np.arange(INSIDE.size).reshape(SHAPE) + 1, 0)
    inside, (warning,) = fitted_mask(image, SCAN)
    np.testing.assert_array_equal(inside, INSIDE)
    assert "different values" in warning


def test_masks_from_files_arrays_and_nibabel_are_alike(tmp_path):
    for name, array in (("hard", INSIDE.astype(np.uint8)), ("soft", GRADED.astype(np.float32))):
        image = nib.Nifti1Image(array, AFFINE)
        nib.save(image, tmp_path / f"{name}.nii.gz")
        for mask in (tmp_path / f"{name}.nii.gz", image, array, Volume(array, AFFINE)):
            inside, warnings = as_mask(mask, SCAN)
            np.testing.assert_array_equal(inside, INSIDE)
            assert bool(warnings) == (name == "soft")
    everywhere = nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)
    nib.save(everywhere, tmp_path / "all.nii.gz")
    assert as_mask(tmp_path / "all.nii.gz", SCAN)[0].all()


def test_an_integer_mask_gives_what_a_bool_mask_gives():
    """It used to index instead of selecting, so that the deviation was 0."""
    resources = Resources(device="cpu")
    translator = api.load_translator("brain-t1", resources=resources, samples=2)
    scan = Volume(SCAN.array, AFFINE, modality="T2w")
    results = [translator.translate(scan, INSIDE.astype(kind)) for kind in (bool, int, float)]
    spread = [one.record["deviation_rms"] for one in results]
    expected = np.sqrt(np.mean(results[0].deviation.array[INSIDE] ** 2))
    assert spread == pytest.approx([expected] * 3)
    assert expected > 0
    for one in results[1:]:
        np.testing.assert_array_equal(one.volume.array, results[0].volume.array)


def test_the_foreground_is_found_where_none_is_given():
    np.testing.assert_array_equal(checked_foreground(None, SCAN), INSIDE)
    np.testing.assert_array_equal(checked_foreground(INSIDE.astype(int), SCAN), INSIDE)
