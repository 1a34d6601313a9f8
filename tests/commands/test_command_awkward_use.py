"""Awkward use of the commands: nothing is lost, and nothing wrong is written without a word."""

import json

import nibabel as nib
import numpy as np
import pytest
from command_samples import AFFINE, brain, load, save_nifti

from chiasm.image.volume import Label, LabelVolume
from chiasm.pipeline import Pipeline
from chiasm.registry import METHODS
from chiasm.segmenters import Segmentation, Segmenter


class _Canonical(Segmenter):
    """A segmenter from outside that returns the closest order to RAS, as many programs do."""

    name, modality = "canonical", None
    labels = (Label(0, "background", "#000000"), Label(1, "bright", "#ffffff"))

    def __init__(self, cut=0):
        self.cut = cut

    def segment(self, volume, mask=None):
        image = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
        array = (np.asarray(image.dataobj) > 100).astype(np.int16)[self.cut :]
        record = {"score": np.float32(0.5)}
        return Segmentation(LabelVolume(array, image.affine, self.labels), record)


@pytest.fixture
def flipped(tmp_path):
    """A scan that is stored from left to right, and not symmetric."""
    array = brain()
    array[:8] *= 0.4
    affine = AFFINE @ np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = (AFFINE @ [array.shape[0] - 1, 0, 0, 1])[:3]
    return save_nifti(tmp_path / "in/sub-01_T1w.nii.gz", array[::-1], affine)


def test_labels_in_another_storage_order_are_turned_to_that_of_the_scan(flipped):
    result = Pipeline(segmenter=_Canonical())(flipped)
    np.testing.assert_array_equal(result.labels.array, load(flipped) > 100)
    assert result.labels.same_grid(result.source)


def test_labels_on_another_grid_are_the_error_of_the_scan(flipped):
    from chiasm.errors import CaseError

    with pytest.raises(CaseError, match=r"the segmenter canonical: returned .*23×28×6"):
        Pipeline(segmenter=_Canonical(cut=1))(flipped)


def test_a_mask_beside_on_another_grid_is_resampled_and_said(chiasm, scan, out):
    mask = np.kron(brain(labels=True)[::2, ::2] > 0, np.ones((1, 1, 1))).astype(np.uint8)
    affine = AFFINE @ np.diag([2.0, 2, 1, 1])
    save_nifti(scan.with_name("sub-01_PDw_mask.nii.gz"), mask, affine)
    result = chiasm("translate", "-i", scan, "-o", out, "--method", "none")
    assert result.code == 0
    assert "was resampled by nearest neighbour" in result.err
    outside = load(out / "sub-01_T1w.nii.gz") == load(out / "sub-01_T1w.nii.gz").min()
    assert (outside & (brain(labels=True) == 3)).sum() == 0


def test_errors_of_every_target_count_in_either_order(chiasm, tmp_path, out):
    save_nifti(tmp_path / "t1/sub-01_T1w.nii.gz", brain())
    for number, order in enumerate(("T2,T1", "T1,T2")):
        told = ("--to", order, "--model", "brain-any", "--start", "estimate")
        result = chiasm("translate", "-i", tmp_path / "t1", "-o", out / str(number), *told)
        assert result.code == 1
        assert "already T1w" in result.err
    twice = chiasm("translate", "-i", tmp_path / "t1", "-o", out, "--to", "T2,t2w")
    assert twice.code == 2
    twice.assert_said("--to T2,t2w", "twice")


def test_a_table_that_exists_stops_a_scan_before_anything_is_written(
    chiasm, scan, out, regression, segmenter
):
    out.mkdir()
    (out / "sub-01_dseg.tsv").write_text("mine\n")
    result = chiasm("run", "-i", scan, "-o", out, "--model", regression, "--segmenter", segmenter)
    assert result.code == 1
    assert [path.name for path in out.iterdir()] == ["sub-01_dseg.tsv"]


def test_a_mask_or_a_truth_that_was_given_is_never_replaced(chiasm, tmp_path, segmenter):
    scan = save_nifti(tmp_path / "in/sub-01_T1w.nii.gz", brain())
    labels = save_nifti(tmp_path / "in/sub-01_dseg.nii.gz", brain(labels=True))
    before = labels.read_bytes()
    given = ("--mask", labels, "-o", scan.parent, "--segmenter", segmenter, "--overwrite")
    assert chiasm("segment", "-i", scan, *given).code == 2
    scores = ("--labels", "--json", labels, "--overwrite")
    assert chiasm("evaluate", "--pred", labels, "--truth", labels, *scores).code == 2
    assert labels.read_bytes() == before


def test_a_report_that_is_a_folder_of_outputs_is_refused_before_any_work(chiasm, scan, out):
    inside = chiasm(
        "translate", "-i", scan, "-o", out / "a", "--method", "none", "--report", out / "a"
    )
    assert inside.code == 2
    assert not out.exists()


def test_pictures_of_a_comparison_are_no_scans(chiasm, tmp_path, segmenter, regression):
    folder = tmp_path / "in"
    save_nifti(folder / "sub-01_PDw.nii.gz", brain())
    save_nifti(folder / "sub-01_T1w.nii.gz", brain(levels=(20, 80, 160)))
    compared = ("--methods", f"none,mine={regression}", "--segmenter", segmenter)
    assert chiasm("compare", "-i", folder, "-o", folder / "cmp", *compared).code == 0
    result = chiasm("translate", "-i", folder, "-o", tmp_path / "out", "--method", "none")
    assert result.code == 0
    assert "that Chiasm made" in result.err
    content = json.loads((folder / "cmp/compare.json").read_text())
    assert content["warnings"] == []


def test_warnings_of_a_comparison_are_in_its_results(chiasm, tmp_path, segmenter, regression):
    folder = tmp_path / "in"
    save_nifti(folder / "sub-01_PDw.nii.gz", brain())
    save_nifti(folder / "sub-01_T1w.nii.gz", brain(levels=(20, 80, 160)))
    soft = (brain(labels=True) > 0) * np.float32(0.75)
    soft[brain(labels=True) == 3] = 1
    save_nifti(folder / "sub-01_PDw_mask.nii.gz", soft)
    compared = ("--methods", f"none,mine={regression}", "--segmenter", segmenter)
    assert chiasm("compare", "-i", folder, "-o", tmp_path / "cmp", *compared).code == 0
    (warning,) = json.loads((tmp_path / "cmp/compare.json").read_text())["warnings"]
    assert "soft mask" in warning
    assert "soft mask" in (tmp_path / "cmp/report.html").read_text()


def test_a_registered_name_that_cannot_be_imported_is_one_line(chiasm):
    METHODS.add("nowhere", "nowhere.module:METHOD", "It does not exist.")
    try:
        result = chiasm("info")
    finally:
        METHODS.remove("nowhere")
    assert result.code == 2
    result.assert_said("nowhere.module:METHOD", "cannot be imported")
