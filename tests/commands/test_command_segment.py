"""`chiasm segment` and `chiasm run`: label maps with their names, on the input's grid."""

import json

import nibabel as nib
import numpy as np
from command_samples import AFFINE, SHAPE, TISSUE_NAMES, brain, files_below, load, save_nifti
from PIL import Image

from chiasm import files


def masked(scan):
    """The brain of a scan as a mask."""
    return save_nifti(scan.parent / "brain_mask.nii.gz", (load(scan) > 0).astype(np.uint8))


def test_segment_writes_labels_and_their_names(chiasm, t1, out, segmenter):
    result = chiasm("segment", "-i", t1, "-o", out, "--segmenter", segmenter)
    assert (result.code, result.err) == (0, "")
    assert files_below(out) == ["sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]
    image = nib.load(out / "sub-01_dseg.nii.gz")
    assert image.shape == SHAPE
    np.testing.assert_array_equal(image.affine, AFFINE)
    values = np.asarray(image.dataobj)
    assert np.issubdtype(values.dtype, np.integer)
    assert set(np.unique(values)) <= {0, 1, 2, 3}
    assert len(np.unique(values)) > 1
    assert (values[brain() == 0] == 0).all()
    table = (out / "sub-01_dseg.tsv").read_text().splitlines()
    assert table[0].split("\t") == ["index", "name", "color"]
    assert [line.split("\t")[:2] for line in table[1:]] == [
        [str(value), name] for value, name in enumerate(TISSUE_NAMES)
    ]


def test_segment_to_a_file_of_any_name(chiasm, t1, out, segmenter):
    path = out / "deep" / "labels.nii"
    assert chiasm("segment", "-i", t1, "-o", path, "--segmenter", segmenter).code == 0
    assert files_below(out) == ["deep/labels.nii", "deep/labels.tsv"]


def test_the_batch_does_not_change_the_labels(chiasm, t1, out, segmenter):
    for batch in (1, 4):
        path = out / f"{batch}_dseg.nii.gz"
        words = ("-i", t1, "-o", path, "--segmenter", segmenter, "--batch", batch)
        assert chiasm("segment", *words).code == 0
    # Rounding may decide where two labels are equally likely.
    assert (load(out / "1_dseg.nii.gz") != load(out / "4_dseg.nii.gz")).mean() < 1e-3


def test_run_is_translate_then_segment(chiasm, scan, out, regression, segmenter):
    mask = masked(scan)
    models = ("--model", regression, "--segmenter", segmenter)
    result = chiasm("run", "-i", scan, "-o", out, *models, "--mask", mask)
    assert (result.code, result.err) == (0, "")
    names = ["sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]
    assert files_below(out) == names

    one = out / "one_T1w.nii.gz"
    two = out / "two_dseg.nii.gz"
    steps = (
        ("translate", "-i", scan, "-o", one, "--model", regression, "--mask", mask),
        ("segment", "-i", one, "-o", two, "--segmenter", segmenter, "--mask", mask),
    )
    assert [chiasm(*step).code for step in steps] == [0, 0]
    np.testing.assert_array_equal(load(out / names[0]), load(one))
    np.testing.assert_array_equal(load(out / names[1]), load(two))


def test_run_marks_and_records_both(chiasm, scan, out, regression, segmenter):
    report = out / "report.json"
    models = ("--model", regression, "--segmenter", segmenter)
    words = ("run", "-i", scan.parent, "-o", out, *models, "--report", report)
    assert chiasm(*words).code == 0
    for name in ("sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz"):
        header = nib.load(out / name).header
        assert bytes(header["descrip"].item()).startswith(b"synthetic")
    content = json.loads(report.read_text())
    (asked,), (case,) = content["settings"]["pipelines"], content["cases"]
    for settings in (asked, case):
        assert settings["segmenter"]["name"] == "tiny-segmenter"
        assert settings["model"].startswith("tiny-regression ")
    for part in ("translation", "segmentation"):
        assert {"grid", "intensity", "seconds"} <= set(case[part])


def test_segment_records_what_it_did(chiasm, t1, out, segmenter):
    report = out / "report.json"
    words = ("-i", t1, "-o", out, "--segmenter", segmenter, "--report", report)
    assert chiasm("segment", *words).code == 0
    (case,) = json.loads(report.read_text())["cases"]
    assert case["segmenter"]["name"] == "tiny-segmenter"
    assert {"grid", "intensity", "seconds"} <= set(case["segmentation"])


def test_run_leaves_the_target_modality_out_and_says_so(chiasm, scan, out, regression, segmenter):
    save_nifti(scan.parent / "sub-01_T1w.nii.gz", brain())
    models = ("--model", regression, "--segmenter", segmenter)
    result = chiasm("run", "-i", scan.parent, "-o", out, *models)
    assert result.code == 0
    assert result.err == "chiasm: 1 image was left out because it is already T1w.\n"
    assert files_below(out) == ["sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]


def test_a_slice_is_segmented_into_a_slice(chiasm, tmp_path, out, segmenter):
    path = tmp_path / "slice.png"
    Image.fromarray(brain((40, 36, 1))[..., 0].astype(np.uint8)).save(path)
    given = ("-i", path, "-o", out, "--segmenter", segmenter, "--spacing", 2)
    result = chiasm("segment", *given)
    assert (result.code, result.err) == (0, "")
    assert files_below(out) == ["slice_dseg.png", "slice_dseg.tsv"]
    assert Image.open(out / "slice_dseg.png").size == (36, 40)
    found = files.read_labels(out / "slice_dseg.png")
    assert [label.name for label in found.labels] == list(TISSUE_NAMES)


def test_a_label_map_is_marked_and_no_scan_of_a_later_run(chiasm, t1, out, segmenter, tmp_path):
    path = tmp_path / "made" / "odd name.nii.gz"  # so that its name does not say what it is
    assert chiasm("segment", "-i", t1, "-o", path, "--segmenter", segmenter).code == 0
    assert files.description(path).startswith("segmentation: chiasm ")
    refused = chiasm("segment", "-i", path.parent, "-o", out, "--segmenter", segmenter)
    assert refused.code == 1
    refused.assert_said("-i", path.parent, "1 image that Chiasm made was left out")
