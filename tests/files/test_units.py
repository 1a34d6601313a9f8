"""The unit of space that a NIfTI header names: millimetres inside, the file's own unit outside."""

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.errors import CaseError
from chiasm.files.nifti import affine_in_mm, millimetres_per_unit
from chiasm.pipeline import as_volume
from chiasm.scoring import evaluate

MM = np.array([[0, -0.7, 0, 11], [0, 0, 3.0, -20], [1.2, 0, 0, 4], [0, 0, 0, 1]])
ARRAY = np.random.default_rng(0).normal(100, 20, (20, 18, 9)).astype(np.float32)
PER_MM = {"meter": 1e-3, "mm": 1.0, "micron": 1e3, "unknown": 1.0}


def image(unit, affine=MM, kind=nib.Nifti1Image):
    scale = PER_MM[unit]
    made = kind(ARRAY, np.diag([scale, scale, scale, 1]) @ affine)
    made.header.set_xyzt_units(unit, "sec")
    return made


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("unit", PER_MM)
def test_whatever_the_unit_the_volume_is_in_millimetres(tmp_path, unit, kind):
    nib.save(image(unit, kind=kind), tmp_path / "a_T2w.nii.gz")
    volume = files.read(tmp_path / "a_T2w.nii.gz")
    np.testing.assert_allclose(volume.affine, MM, rtol=1e-5, atol=1e-5)
    assert volume.spacing == pytest.approx((1.2, 0.7, 3))
    np.testing.assert_allclose(as_volume(image(unit)).affine, MM, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unit", PER_MM)
def test_what_is_written_like_the_input_repeats_its_unit_and_affine(tmp_path, unit):
    nib.save(image(unit), tmp_path / "in_T2w.nii.gz")
    volume = files.read(tmp_path / "in_T2w.nii.gz")
    files.write(volume, tmp_path / "out.nii.gz", like=tmp_path / "in_T2w.nii.gz")
    given, made = (nib.load(tmp_path / name) for name in ("in_T2w.nii.gz", "out.nii.gz"))
    np.testing.assert_array_equal(made.affine, given.affine)
    for field in ("xyzt_units", "pixdim", "srow_x", "srow_y", "srow_z", "qoffset_x", "quatern_b"):
        np.testing.assert_array_equal(made.header[field], given.header[field])
    again = files.read(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.affine, volume.affine)


def test_a_file_in_microns_is_compared_with_one_in_millimetres(tmp_path):
    for unit in ("micron", "mm"):
        nib.save(image(unit), tmp_path / f"{unit}.nii")
    inside = np.ones(ARRAY.shape, bool)
    result = evaluate(tmp_path / "micron.nii", tmp_path / "mm.nii", mask=inside)
    assert not result.resampled
    assert result.image.mae == 0
    assert evaluate(image("micron"), image("meter"), mask=inside).image.mae == 0


def test_what_was_saved_in_another_unit_than_its_header_says_is_refused_in_one_line(tmp_path):
    for name, unit, affine in (
        ("small", "micron", np.diag([1e-3, 1e-3, 1e-3, 1.0])),  # says 1 µm, means 1 mm
        ("large", "mm", np.diag([1e3, 1e3, 1e3, 1.0])),
    ):
        nib.save(image(unit, affine), tmp_path / f"{name}.nii")
        with pytest.raises(CaseError, match=r"spacing .* mm; legal: 0\.01 to 100 mm") as caught:
            files.read(tmp_path / f"{name}.nii")
        assert "\n" not in str(caught.value)


def test_a_single_slice_may_have_any_thickness(tmp_path):
    made = nib.Nifti1Image(ARRAY[:, :, :1], np.diag([1.0, 1, 500, 1]))
    nib.save(made, tmp_path / "a.nii")
    assert files.read(tmp_path / "a.nii").spacing == (1, 1, 500)


def test_other_formats_are_in_millimetres():
    made = nib.MGHImage(ARRAY, MM)
    assert millimetres_per_unit(made.header) == 1
    np.testing.assert_array_equal(affine_in_mm(made), made.affine)
