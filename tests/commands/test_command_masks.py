"""Which brain mask and which modality a scan is taken with, and what is said of it."""

import json

import numpy as np
import pytest
from command_samples import AFFINE, SHAPE, TARGET, brain, files_below, load, save_nifti

COMMANDS = ("translate", "run", "segment")


@pytest.fixture
def line(regression, segmenter):
    """The words of a command that takes a scan through the tiny models."""
    models = {
        "translate": ("--model", regression),
        "run": ("--model", regression, "--segmenter", segmenter),
        "segment": ("--segmenter", segmenter, "--modality", "T1"),
    }
    return lambda command, scan, out, *more: (
        command,
        "-i",
        scan,
        "-o",
        out,
        *models[command],
        *more,
    )


def half():
    """A mask of the left half of the brain."""
    mask = (brain() > 0).astype(np.uint8)
    mask[SHAPE[0] // 2 :] = 0
    return mask


def outside(command):
    """What the first image of a command holds where the mask is 0."""
    return 0 if command == "segment" else TARGET.background


def first_image(out):
    return load(out / next(name for name in files_below(out) if name.endswith(".nii.gz")))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "name", ["sub-01_PDw_mask", "sub-01_desc-brain_mask", "sub-01_mask", "brainmask"]
)
def test_the_mask_beside_the_scan_is_used_and_recorded(chiasm, command, name, scan, out, line):
    mask = save_nifti(scan.with_name(f"{name}.nii.gz"), half())
    report = out.with_name("report.json")
    result = chiasm(*line(command, scan, out, "--report", report))
    assert (result.code, result.err) == (0, "")
    (case,) = json.loads(report.read_text())["cases"]
    assert case["foreground"] == str(mask)
    made = first_image(out)
    assert (made[half() == 0] == outside(command)).all()
    assert np.ptp(made[half() == 1]) > 0
    # It is what --mask would have done.
    given = out.with_name("given")
    assert chiasm(*line(command, scan, given, "--mask", mask)).code == 0
    np.testing.assert_array_equal(first_image(given), made)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mask_that_is_given_wins_over_the_one_beside(chiasm, command, scan, out, tmp_path, line):
    save_nifti(scan.with_name("sub-01_mask.nii.gz"), half())
    whole = save_nifti(tmp_path / "whole.nii.gz", (brain() > 0).astype(np.uint8))
    report = tmp_path / "report.json"
    assert chiasm(*line(command, scan, out, "--mask", whole, "--report", report)).code == 0
    (case,) = json.loads(report.read_text())["cases"]
    assert case["foreground"] == str(whole)
    made = first_image(out)
    assert (made[(half() == 0) & (brain() > 0)] != outside(command)).any()


def test_without_a_mask_the_report_says_that_it_was_found(chiasm, scan, out, tmp_path, line):
    report = tmp_path / "report.json"
    assert chiasm(*line("run", scan, out, "--report", report)).code == 0
    assert json.loads(report.read_text())["cases"][0]["foreground"] == "found in the scan"


def test_masks_of_a_folder_are_used_each_for_its_scan(chiasm, tmp_path, out, line):
    data = tmp_path / "bids"
    for name in ("sub-01", "sub-02"):
        save_nifti(data / name / "anat" / f"{name}_PDw.nii.gz", brain())
    mask = save_nifti(data / "sub-02" / "anat" / "sub-02_desc-brain_mask.nii.gz", half())
    report = tmp_path / "report.json"
    result = chiasm(*line("translate", data, out, "--report", report))
    assert (result.code, result.err) == (0, "chiasm: 1 label map or mask was left out.\n")
    found = [case["foreground"] for case in json.loads(report.read_text())["cases"]]
    assert found == ["found in the scan", str(mask)]


def test_two_masks_beside_a_scan_are_that_scans_error(chiasm, scan, out, line):
    for name in ("sub-01_mask", "sub-01_desc-brain_mask"):
        save_nifti(scan.with_name(f"{name}.nii.gz"), half())
    other = save_nifti(scan.parent.parent / "more" / "sub-02_PDw.nii.gz", brain())
    result = chiasm(*line("translate", scan, out, "-i", other))
    assert result.code == 1
    result.assert_said("-i", scan, "two brain masks", "--mask")
    assert files_below(out) == ["sub-02_T1w.nii.gz"]


def test_a_mask_beside_the_grid_by_a_hair_is_taken(chiasm, scan, out, tmp_path, line):
    moved = AFFINE.copy()
    moved[0, 3] += 0.004
    mask = save_nifti(tmp_path / "near.nii.gz", half(), moved)
    result = chiasm(*line("translate", scan, out, "--mask", mask))
    assert result.code == 0
    (told,) = result.err.splitlines()
    assert told.startswith(f"chiasm: warning: {scan}: --mask {mask}: lies up to 0.004 mm beside")
    assert (first_image(out)[half() == 0] == TARGET.background).all()


def test_a_soft_mask_is_cut_at_half(chiasm, scan, out, tmp_path, line):
    soft = half() * np.float32(0.9)
    soft[(brain() > 0) & (half() == 0)] = 0.2
    mask = save_nifti(tmp_path / "soft.nii.gz", soft)
    result = chiasm(*line("translate", scan, out, "--mask", mask))
    assert result.code == 0
    (told,) = result.err.splitlines()
    assert "soft mask" in told
    made = first_image(out)
    assert (made[half() == 0] == TARGET.background).all()
    assert (made[half() == 1] != TARGET.background).any()


def test_segment_warns_of_a_named_scan_of_another_modality(chiasm, scan, out, segmenter):
    given = ("segment", "-i", scan, "-o", out, "--segmenter", segmenter)
    result = chiasm(*given)
    assert result.code == 0
    (told,) = result.err.splitlines()
    assert told.startswith(f"chiasm: warning: {scan}: This scan is PDw, but the segmenter")
    for part in ("tiny-segmenter knows only T1w", "`chiasm run`", "--modality"):
        assert part in told
    assert files_below(out) == ["sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]
    corrected = chiasm(*given, "--overwrite", "--modality", "T1")
    assert (corrected.code, corrected.err) == (0, "")


def test_segment_leaves_scans_of_other_modalities_of_a_folder_out(
    chiasm, scan, t1, out, tmp_path, segmenter
):
    save_nifti(scan.with_name("patient.nii.gz"), brain())
    report = tmp_path / "report.json"
    given = ("--segmenter", segmenter, "--report", report)
    result = chiasm("segment", "-i", scan.parent, "-o", out, *given)
    sentence = "1 scan of another modality was left out, because the segmenter knows only T1w."
    assert (result.code, result.err) == (0, f"chiasm: {sentence}\n")
    # A name without a modality is taken.
    found = [name for name in files_below(out) if name.endswith(".nii.gz")]
    assert found == ["patient_dseg.nii.gz", "sub-01_dseg.nii.gz"]
    content = json.loads(report.read_text())
    assert content["left_out"] == [sentence]
    assert str(t1) in [case["input"] for case in content["cases"]]


def test_a_folder_of_wrong_names_is_corrected_by_modality(chiasm, scan, out, segmenter):
    given = ("segment", "-i", scan.parent, "-o", out, "--segmenter", segmenter)
    refused = chiasm(*given)
    assert refused.code == 1
    refused.assert_said("-i", scan.parent, "holds no T1w scan", "`chiasm run`")
    assert not out.exists()
    corrected = chiasm(*given, "--modality", "T1")
    assert (corrected.code, corrected.err) == (0, "")
    assert files_below(out) == ["sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]


def test_a_segmenter_of_any_modality_takes_all_without_a_word(
    chiasm, scan, t1, out, contrast_agnostic
):
    result = chiasm("segment", "-i", scan.parent, "-o", out, "--segmenter", contrast_agnostic)
    assert (result.code, result.err) == (0, "")
    assert len([name for name in files_below(out) if name.endswith(".nii.gz")]) == 2


def test_translate_warns_of_the_target_itself_and_modality_corrects_it(chiasm, t1, out, regression):
    given = ("translate", "-i", t1, "-o", out, "--model", regression)
    result = chiasm(*given)
    assert result.code == 0
    (told,) = result.err.splitlines()
    assert told.startswith(f"chiasm: warning: {t1}: This scan is T1w already")
    corrected = chiasm(*given, "--overwrite", "--modality", "PD")
    assert (corrected.code, corrected.err) == (0, "")


def test_a_folder_of_scans_called_as_the_target_is_corrected_too(chiasm, t1, out, regression):
    given = ("translate", "-i", t1.parent, "-o", out, "--model", regression)
    refused = chiasm(*given)
    assert refused.code == 1
    refused.assert_said("already T1w")
    assert chiasm(*given, "--modality", "PD").code == 0
    assert files_below(out) == ["sub-01_T1w.nii.gz"]
