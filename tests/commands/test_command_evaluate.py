"""`chiasm evaluate`: scores whose truth is known, and different grids refused."""

import json

import numpy as np
import pytest
from command_samples import AFFINE, SHAPE, brain, files_below, save_nifti


@pytest.fixture
def truth(tmp_path):
    return save_nifti(tmp_path / "truth.nii.gz", brain())


@pytest.fixture
def mask(tmp_path):
    return save_nifti(tmp_path / "mask.nii.gz", (brain() > 0).astype(np.uint8))


def test_an_image_that_is_off_by_a_constant(chiasm, truth, mask, tmp_path):
    inside = brain() > 0
    pred = save_nifti(tmp_path / "pred.nii.gz", brain() + 7 * inside)
    result = chiasm("evaluate", "--pred", pred, "--truth", truth, "--mask", mask)
    assert (result.code, result.err) == (0, "")
    scores = json.loads(result.out)["image"]
    span = np.ptp(np.percentile(brain()[inside], (0.5, 99.5)))
    assert scores["mae"] == pytest.approx(7, rel=1e-5)
    assert scores["psnr"] == pytest.approx(20 * np.log10(span / 7), rel=1e-4)
    assert 0 < scores["ssim"] < 1


def test_json_holds_what_is_printed(chiasm, truth, tmp_path, out):
    path = out / "scores.json"
    result = chiasm("evaluate", "--pred", truth, "--truth", truth, "--json", path)
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == json.loads(path.read_text())
    scores = json.loads(result.out)["image"]
    assert (scores["mae"], scores["psnr"]) == (0, None)
    assert scores["ssim"] == pytest.approx(1)


def test_labels(chiasm, tmp_path):
    true, shifted = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    true[4:12, 4:20, 1:5] = 1
    shifted[6:14, 4:20, 1:5] = 1  # 2 of 8 rows elsewhere: Dice 6/8; surfaces 4 mm apart at most
    truth = save_nifti(tmp_path / "truth_dseg.nii.gz", true)
    pred = save_nifti(tmp_path / "pred_dseg.nii.gz", shifted)
    result = chiasm("evaluate", "--pred", pred, "--truth", truth, "--labels")
    assert (result.code, result.err) == (0, "")
    text = json.dumps(json.loads(result.out)["labels"])
    assert json.loads(result.out)["image"] is None
    assert "0.75" in text
    assert "4.0" in text


def test_another_grid_is_refused_or_resampled(chiasm, truth, tmp_path, out):
    moved = AFFINE.copy()
    moved[0, 3] += 2  # one voxel to the right
    array = np.zeros_like(brain())
    array[:-1] = brain()[1:]
    pred = save_nifti(tmp_path / "pred.nii.gz", array, moved)
    path = out / "scores.json"
    words = ("evaluate", "--pred", pred, "--truth", truth, "--json", path)
    refused = chiasm(*words)
    assert refused.code == 1
    refused.assert_said("--pred", pred, "another grid", "--resample")
    assert files_below(out) == []
    resampled = chiasm(*words, "--resample")
    assert resampled.code == 0
    scores = json.loads(resampled.out)
    assert scores["resampled"] is True
    assert scores["image"]["mae"] < 1e-4


def test_an_image_is_no_label_map(chiasm, truth):
    result = chiasm("evaluate", "--pred", truth, "--truth", truth, "--labels")
    assert result.code == 1
    result.assert_said("--truth", truth, "whole numbers")
