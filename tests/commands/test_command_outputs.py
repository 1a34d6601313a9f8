"""Outputs: what they are called, that nothing is replaced unasked, and never half a file."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_samples import brain, files_below, save_nifti
from PIL import Image

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def at_rename(monkeypatch):
    def replace(*_):
        raise NO_SPACE

    monkeypatch.setattr(os, "replace", replace)


def at_flush(monkeypatch):
    def fsync(_):
        raise NO_SPACE

    monkeypatch.setattr(os, "fsync", fsync)


def at_write(monkeypatch):
    def write_bytes(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise NO_SPACE

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


@pytest.mark.parametrize("refused", [at_write, at_flush, at_rename])
@pytest.mark.parametrize(
    "line",
    [
        "translate -i SCAN -o OUT --model MODEL",
        "segment -i T1 -o OUT --segmenter SEGMENTER",
        "run -i SCAN -o OUT --model MODEL --segmenter SEGMENTER",
        "evaluate --pred SCAN --truth SCAN --json OUT/scores.json",
    ],
)
def test_a_full_disk(chiasm, line, refused, scan, t1, out, regression, segmenter, monkeypatch):
    refused(monkeypatch)
    meant = {"SCAN": scan, "T1": t1, "OUT": out, "MODEL": regression, "SEGMENTER": segmenter}
    words = [meant.get(word, word.replace("OUT", str(out))) for word in line.split()]
    result = chiasm(*words)
    assert result.code == 1
    result.assert_said(out, "No space left on device")
    assert files_below(out) == []


def test_a_full_disk_under_a_phantom(chiasm, out, monkeypatch):
    at_write(monkeypatch)
    result = chiasm("phantom", "-o", out, "--spacing", 8, "--modalities", "T1")
    assert result.code == 1
    result.assert_said(out, "No space left on device")
    assert files_below(out) == []


def test_a_full_disk_when_the_report_is_written(chiasm, out, tmp_path, regression, monkeypatch):
    at_write(monkeypatch)  # the report goes through it; a PNG, through Pillow, does not
    picture = tmp_path / "slice.png"
    Image.fromarray(brain((32, 32, 1))[..., 0].astype(np.uint8)).save(picture)
    report = out / "report.json"
    given = ("-i", picture, "-o", out, "--spacing", 2, "--report", report)
    result = chiasm("translate", *given, "--model", regression)
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert f"--report {report}" in last
    assert "No space left on device" in last
    assert files_below(out) == ["slice_T1w.png"]


def test_ctrl_c_leaves_nothing_half_done(chiasm, scan, out, regression, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    result = chiasm("translate", "-i", scan, "-o", out, "--model", regression)
    assert result.code == 130
    told = "chiasm: The run was stopped: 0 of 1 scans are finished."
    assert result.err.splitlines() == [
        f"{told} The same command with --resume goes on.",
        "chiasm: interrupted",
    ]
    assert files_below(out) == []


def test_what_exists_is_replaced_only_when_told(chiasm, scan, tmp_path, out, regression):
    existing = out / "sub-01_T1w.nii.gz"
    existing.parent.mkdir()
    existing.write_text("precious")
    other = save_nifti(tmp_path / "in" / "sub-02_PDw.nii.gz", brain(seed=2))
    given = ("translate", "-i", scan, "-i", other, "-o", out, "--model", regression)
    refused = chiasm(*given)
    assert refused.code == 1
    refused.assert_said("-o", existing, "exists", "--overwrite")
    assert existing.read_text() == "precious"
    assert files_below(out) == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]

    replaced = chiasm(*given, "--overwrite")
    assert (replaced.code, replaced.err) == (0, "")
    assert existing.read_bytes()[:2] == b"\x1f\x8b"
    assert files_below(out) == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]


@pytest.mark.parametrize("name", ["sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz"])
def test_run_writes_both_or_none_where_one_exists(chiasm, name, scan, out, regression, segmenter):
    out.mkdir()
    (out / name).write_text("precious")
    given = ("-i", scan, "-o", out, "--model", regression, "--segmenter", segmenter)
    result = chiasm("run", *given)
    assert result.code == 1
    result.assert_said("-o", out / name, "exists", "--overwrite")
    assert files_below(out) == [name]


def test_a_table_that_exists_is_not_replaced_unasked(chiasm, t1, out, segmenter):
    out.mkdir()
    (out / "sub-01_dseg.tsv").write_text("precious")
    given = ("-i", t1, "-o", out, "--segmenter", segmenter)
    result = chiasm("segment", *given)
    assert result.code == 1
    result.assert_said("-o", out / "sub-01_dseg.tsv", "exists", "--overwrite")
    assert files_below(out) == ["sub-01_dseg.tsv"]
    assert (out / "sub-01_dseg.tsv").read_text() == "precious"
    assert chiasm("segment", *given, "--overwrite").code == 0


@pytest.mark.parametrize("argument", ["--report", "--json"])
def test_a_report_that_exists(chiasm, argument, scan, out, regression):
    report = out / "report.json"
    out.mkdir()
    report.write_text("precious")
    if argument == "--report":
        given = ("translate", "-i", scan, "-o", out, "--model", regression)
    else:
        given = ("evaluate", "--pred", scan, "--truth", scan)
    refused = chiasm(*given, argument, report)
    assert refused.code == 1
    refused.assert_said(argument, report, "exists", "--overwrite")
    assert report.read_text() == "precious"
    assert files_below(out) == ["report.json"]
    assert chiasm(*given, argument, report, "--overwrite").code == 0
    assert json.loads(report.read_text())


def test_a_phantom_where_other_subjects_are(chiasm, out):
    other = save_nifti(out / "sub-07" / "anat" / "sub-07_T1w.nii.gz", brain())
    result = chiasm("phantom", "-o", out, "--spacing", 8)
    assert result.code == 1
    result.assert_said("-o", out, other.name)
    assert files_below(out) == ["sub-07/anat/sub-07_T1w.nii.gz"]


def test_an_output_below_a_file(chiasm, scan, tmp_path, regression):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    result = chiasm("translate", "-i", scan, "-o", blocked / "deeper", "--model", regression)
    assert result.code == 1
    result.assert_said("-o", blocked)
    assert blocked.read_text() == "no folder"


def test_a_folder_keeps_its_structure(chiasm, tmp_path, out, regression):
    data = tmp_path / "bids"
    for subject in ("sub-01", "sub-02"):
        save_nifti(data / subject / "anat" / f"{subject}_PDw.nii.gz", brain())
    save_nifti(data / "sub-01" / "anat" / "sub-01_dseg.nii.gz", brain(labels=True))
    save_nifti(data / "sub-02" / "anat" / "sub-02_T1w.nii.gz", brain())
    result = chiasm("translate", "-i", data, "-o", out, "--model", regression)
    assert result.code == 0
    assert result.err.splitlines() == [
        "chiasm: 1 label map or mask was left out.",
        "chiasm: 1 image was left out because it is already T1w.",
    ]
    assert files_below(out) == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
    ]
    assert "[2/2]" in result.out


def test_inputs_that_would_meet_in_one_name_say_what_they_are_from(
    chiasm, tmp_path, out, regression, segmenter
):
    data = tmp_path / "in"
    for suffix in ("PDw", "T2w"):
        save_nifti(data / f"sub-01_{suffix}.nii.gz", brain())
    save_nifti(data / "sub-02_PDw.nii.gz", brain())
    assert chiasm("translate", "-i", data, "-o", out / "a", "--model", regression).code == 0
    assert files_below(out / "a") == [
        "sub-01_desc-fromPDw_T1w.nii.gz",
        "sub-01_desc-fromT2w_T1w.nii.gz",
        "sub-02_T1w.nii.gz",
    ]
    chosen = ("--model", regression, "--segmenter", segmenter)
    assert chiasm("run", "-i", data, "-o", out / "b", *chosen).code == 0
    assert files_below(out / "b") == [
        "sub-01_desc-fromPDw_T1w.nii.gz",
        "sub-01_desc-fromPDw_dseg.nii.gz",
        "sub-01_desc-fromPDw_dseg.tsv",
        "sub-01_desc-fromT2w_T1w.nii.gz",
        "sub-01_desc-fromT2w_dseg.nii.gz",
        "sub-01_desc-fromT2w_dseg.tsv",
        "sub-02_T1w.nii.gz",
        "sub-02_dseg.nii.gz",
        "sub-02_dseg.tsv",
    ]


def test_several_inputs_files_and_folders(chiasm, scan, tmp_path, out, regression):
    save_nifti(tmp_path / "more" / "deep" / "sub-02_T2w.nii.gz", brain())
    given = ("-i", scan, "-i", tmp_path / "more", "-i", scan, "-o", out, "--model", regression)
    result = chiasm("translate", *given)
    assert (result.code, result.err) == (0, "")
    assert files_below(out) == ["deep/sub-02_T1w.nii.gz", "sub-01_T1w.nii.gz"]


def test_a_name_without_a_modality_is_kept_whole(chiasm, tmp_path, out, regression):
    path = save_nifti(tmp_path / "patient_seven.nii.gz", brain())
    assert chiasm("translate", "-i", path, "-o", out, "--model", regression).code == 0
    assert files_below(out) == ["patient_seven_T1w.nii.gz"]


def test_a_scan_that_was_given_is_never_replaced(chiasm, tmp_path, regression):
    scans = [tmp_path / name for name in ("a_T1w.nii.gz", "a_PDw.nii.gz")]
    for scan in scans:
        save_nifti(scan, brain())
    before = [scan.read_bytes() for scan in scans]
    for source, target in ((tmp_path, tmp_path), (scans[1], scans[1])):
        result = chiasm(
            "translate", "-i", source, "-o", target, "--model", regression, "--overwrite"
        )
        assert result.code == 2
        assert "is one of the input files; legal: another file or folder" in result.err
        assert "Traceback" not in result.err
    assert [scan.read_bytes() for scan in scans] == before
