"""Fields of view that do not overlap are no comparison, and small overlaps are said."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import LabelVolume, Volume
from chiasm.scoring import evaluate
from chiasm.scoring.common_grid import share_in_view

SHAPE = (20, 22, 18)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
INSIDE = (((np.indices(SHAPE).T - [9.5, 10.5, 8.5]) / [8, 9, 7]) ** 2).sum(-1).T <= 1
ARRAY = np.where(INSIDE, np.random.default_rng(0).normal(500, 50, SHAPE), 0)


def moved(millimetres, axis=2):
    affine = AFFINE.copy()
    affine[axis, 3] += millimetres
    return affine


def pair(kind, millimetres, axis=2):
    if kind == "labels":
        return LabelVolume(INSIDE, moved(millimetres, axis)), LabelVolume(INSIDE, AFFINE)
    return Volume(ARRAY, moved(millimetres, axis)), Volume(ARRAY, AFFINE)


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("millimetres", [500, -500])
def test_images_half_a_metre_apart_are_refused(kind, axis, millimetres):
    pred, truth = pair(kind, millimetres, axis)
    with pytest.raises(CaseError, match="shows none of the compared voxels"):
        evaluate(pred, truth, labels=kind == "labels", resample=True)


def test_fields_of_view_that_overlap_outside_the_foreground_alone_are_refused():
    pred, truth = pair("image", 3 * 17)  # one slice of air in common
    with pytest.raises(CaseError, match="shows none"):
        evaluate(pred, truth, resample=True)


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("slices", [2, 7, 11, 14])
def test_less_than_half_of_the_foreground_is_a_warning(kind, slices):
    pred, truth = pair(kind, 3 * slices)
    share = INSIDE[:, :, slices:].sum() / INSIDE.sum()
    result = evaluate(pred, truth, labels=kind == "labels", resample=True)
    assert bool(result.warnings) == (share < 0.5)
    if result.warnings:
        assert f"{100 * share:.0f} %" in result.warnings[0]


def test_what_counts_is_the_mask_where_there_is_one():
    pred, truth = pair("image", 3 * 12)
    top = INSIDE & (np.indices(SHAPE)[2] >= 12)
    assert evaluate(pred, truth, mask=top, resample=True).warnings == ()
    with pytest.raises(CaseError, match="shows none"):
        evaluate(pred, truth, mask=INSIDE & ~top, resample=True)


def test_the_share_is_that_of_a_search_voxel_by_voxel():
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, 0.2, 0.5), [5, -8, 12])
    image, truth = Volume(ARRAY, turn @ AFFINE), Volume(ARRAY, AFFINE)
    seen = 0
    for voxel in np.argwhere(INSIDE):
        place = AFFINE[:3, :3] @ voxel + AFFINE[:3, 3]
        other = np.linalg.solve(image.affine, [*place, 1])[:3]
        seen += all(-0.5 <= x <= n - 0.5 for x, n in zip(other, SHAPE, strict=True))
    assert 0 < seen < INSIDE.sum()
    assert share_in_view(image, truth, INSIDE) == pytest.approx(seen / INSIDE.sum(), abs=1e-3)


def test_the_command_says_it_and_writes_it(tmp_path):
    pred, truth = pair("image", 3 * 14)
    for name, one in (("pred", pred), ("truth", truth)):
        nib.save(nib.Nifti1Image(one.array, one.affine), tmp_path / f"{name}.nii.gz")
    command = [sys.executable, "-m", "chiasm", "evaluate", "--resample"]
    files = ["--pred", tmp_path / "pred.nii.gz", "--truth", tmp_path / "truth.nii.gz"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=True)
    assert "warning" in done.stderr
    assert len(json.loads(done.stdout)["warnings"]) == 1
