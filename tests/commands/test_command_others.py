"""`--segmenter` and `--extract` take the programs that people have."""

import json
import sys

import numpy as np
import pytest
from command_samples import brain, files_below, load, save_nifti

# Labels what is at least as bright as a limit: `tool IN OUT LIMIT`.
TOOL = """
import sys
import nibabel as nib
import numpy as np

image = nib.load(sys.argv[1])
labels = (np.asarray(image.dataobj) >= float(sys.argv[3])).astype(np.uint8)
nib.Nifti1Image(labels, image.affine).to_filename(sys.argv[2])
"""


@pytest.fixture
def tool(tmp_path):
    """The command line of a program that labels what reaches a limit."""
    path = tmp_path / "bin" / "tool.py"
    path.parent.mkdir()
    path.write_text(TOOL)
    return lambda limit: f"{sys.executable} {path} {{input}} {{output}} {limit}"


def test_run_segments_the_translation_with_a_program(chiasm, scan, out, regression, tool):
    report = out / "report.json"
    words = ("-i", scan, "-o", out, "--model", regression, "--report", report)
    result = chiasm("run", *words, "--segmenter", tool(300))
    assert result.code == 0
    names = ["report.json", "sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]
    assert files_below(out) == names
    made = load(out / "sub-01_T1w.nii.gz")
    np.testing.assert_array_equal(load(out / "sub-01_dseg.nii.gz"), made >= 300)
    (case,) = json.loads(report.read_text())["cases"]
    assert case["segmenter"]["command"] == tool(300)
    assert not case["segmentation"]["resampled_onto_the_scan"]


def test_a_program_that_fails_leaves_nothing_and_stops_no_other(
    chiasm, scan, out, regression, tool, tmp_path
):
    save_nifti(scan.parent / "sub-02_PDw.nii.gz", brain(seed=3))
    code = (
        "import os, sys; n = len(os.listdir(sys.argv[3])); open(sys.argv[3] + '/' + str(n), 'w');"
    )
    code += "sys.exit('no licence') if n == 0 else None; import shutil;"
    code += "import nibabel as nib, numpy as np; i = nib.load(sys.argv[1]);"
    code += "nib.Nifti1Image(np.ones(i.shape, np.uint8), i.affine).to_filename(sys.argv[2])"
    counted = tmp_path / "count"
    counted.mkdir()
    command = f'{sys.executable} -c "{code}" {{input}} {{output}} {counted}'
    words = ("-i", scan.parent, "-o", out, "--model", regression, "--segmenter", command)
    result = chiasm("run", *words)
    assert result.code == 1
    assert files_below(out) == ["sub-02_T1w.nii.gz", "sub-02_dseg.nii.gz", "sub-02_dseg.tsv"]
    (line,) = [one for one in result.err.splitlines() if "exit code" in one]
    assert "failed with exit code 1 (its last lines: no licence)" in line
    assert str(scan) in line


def test_the_brain_is_what_a_program_finds(chiasm, scan, out, regression, tool):
    report = out / "report.json"
    words = ("-i", scan, "-o", out, "--model", regression, "--report", report)
    assert chiasm("translate", *words, "--extract", tool(60)).code == 0
    inside = load(scan) >= 60
    made = load(out / "sub-01_T1w.nii.gz")
    assert (made[~inside] == made.min()).all()
    masked = save_nifti(scan.parent / "own.nii.gz", inside.astype(np.uint8))
    again = out / "again_T1w.nii.gz"
    one = ("-i", scan, "-o", again, "--model", regression, "--mask", masked)
    assert chiasm("translate", *one).code == 0
    np.testing.assert_array_equal(load(again), made)
    (case,) = json.loads(report.read_text())["cases"]
    assert case["foreground"].startswith("found by python")
    assert case["extractor"]["command"] == tool(60)


def test_segment_with_both(chiasm, t1, out, tool):
    words = ("-i", t1, "-o", out, "--segmenter", tool(100), "--extract", tool(60))
    assert chiasm("segment", *words).code == 0
    np.testing.assert_array_equal(load(out / "sub-01_dseg.nii.gz"), load(t1) >= 100)


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("--extract", "tool {input}"), 2, "--extract tool {input}: lacks {output}; legal: "),
        (("--extract", "no-tool {input} {output}"), 2, "--extract no-tool: is not a program"),
        (("--extract", "true {input} {output}"), 1, "--extract true: wrote no label map"),
    ],
)
def test_extractors_that_are_refused(chiasm, scan, out, regression, words, code, problem):
    result = chiasm("translate", "-i", scan, "-o", out, "--model", regression, *words)
    assert result.code == code
    assert problem in result.err
    assert len(result.err.splitlines()) == 1
    assert not out.exists()


def test_an_extractor_beside_a_mask(chiasm, scan, out, regression, tool):
    words = ("-i", scan, "-o", out, "--model", regression, "--mask", scan, "--extract", tool(1))
    result = chiasm("translate", *words)
    assert result.code == 2
    assert "changes nothing, because --mask is given; legal: one of the two" in result.err


def test_an_extractor_that_finds_nothing(chiasm, scan, out, regression, tool):
    words = ("-i", scan, "-o", out, "--model", regression, "--extract", tool(1e6))
    result = chiasm("translate", *words)
    assert result.code == 1
    assert "found no brain" in result.err
    assert not out.exists()


FREESURFER = """
import sys
import nibabel as nib
import numpy as np

scan = nib.load(sys.argv[1])
values = np.asarray(scan.dataobj)
labels = np.where(values > float(sys.argv[3]), 17, 0).astype(np.int32)
nib.MGHImage(labels, scan.affine).to_filename(sys.argv[2] + "/seg.mgz")
nib.MGHImage(values.astype(np.float32), scan.affine).to_filename(sys.argv[2] + "/norm.mgz")
"""


def test_a_program_may_write_volumes_of_freesurfer(chiasm, t1, out, tmp_path):
    """As samseg and FastSurfer do, among other files."""
    path = tmp_path / "tool.py"
    path.write_text(FREESURFER)
    command = f"{sys.executable} {path} {{input}} {{output_folder}} 100"
    result = chiasm("segment", "-i", t1, "-o", out / "a.nii.gz", "--segmenter", command)
    assert result.code == 1
    result.assert_said("--segmenter", "more than one label map", "seg.mgz", "output_name")
    settings = tmp_path / "tool.yaml"
    settings.write_text(f"command: {command}\noutput_name: seg.mgz\nlabels: {{17: hippocampus}}\n")
    result = chiasm("segment", "-i", t1, "-o", out / "a.nii.gz", "--segmenter", settings)
    assert result.code == 0, result.err
    np.testing.assert_array_equal(load(out / "a.nii.gz"), np.where(load(t1) > 100, 17, 0))
    assert "hippocampus" in (out / "a.tsv").read_text()
