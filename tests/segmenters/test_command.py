"""Any program as a segmenter."""

import sys

import nibabel as nib
import numpy as np
import pytest
import yaml

from chiasm.errors import CaseError, UsageError
from chiasm.image.volume import Volume
from chiasm.segmenters.load import load_segmenter

# A program that labels what is brighter than 50 as 2, in the order of storage that it likes.
TOOL = """
import sys
import nibabel as nib
import numpy as np

image = nib.load(sys.argv[1])
labels = np.where(np.asarray(image.dataobj) > 50, 2, 0).astype("uint8")
made = nib.Nifti1Image(labels, image.affine)
if "turned" in sys.argv:
    made = made.as_reoriented([[1, -1], [2, 1], [0, -1]])
if "coarse" in sys.argv:
    affine = image.affine @ np.diag([2, 2, 2, 1])
    affine[:3, 3] += image.affine[:3, :3] @ [0.5, 0.5, 0.5]
    made = nib.Nifti1Image(labels[::2, ::2, ::2], affine)
if "elsewhere" in sys.argv:
    affine = image.affine.copy()
    affine[:3, 3] += 900
    made = nib.Nifti1Image(labels, affine)
if "halves" in sys.argv:
    made = nib.Nifti1Image(labels / 4, image.affine)
made.to_filename(sys.argv[2])
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    """The command line of the program, to which words can be added."""
    path = tmp_path_factory.mktemp("a tool") / "tool.py"
    path.write_text(TOOL)

    def command(words="{input} {output}"):
        return f"{sys.executable} '{path}' {words}"

    return command


@pytest.fixture(scope="module")
def scan():
    """A scan that is not symmetric, stored from left to right."""
    array = np.random.default_rng(3).uniform(0, 40, (20, 24, 18)).astype(np.float32)
    array[4:16, 6:20, 4:14] += 60
    array[4:8, 6:10, 4:8] += 40
    affine = np.diag([-1.0, 1.2, 1.5, 1])
    affine[:3, 3] = 12, -30, 7
    return Volume(array, affine, modality="T1w")


def bright(scan):
    return np.where(scan.array > 50, 2, 0)


@pytest.mark.parametrize("words", ["{input} {output}", "{input} {output} turned"])
def test_labels_lie_on_the_scan(tool, scan, words):
    segmenter = load_segmenter(tool(words))
    segmenter.load()
    made = segmenter.segment(scan)
    assert made.labels.same_grid(scan)
    np.testing.assert_array_equal(made.labels.array, bright(scan))
    assert not made.record["resampled_onto_the_scan"]
    assert segmenter.modality is None


def test_labels_of_another_grid_are_resampled_by_nearest_neighbour(tool, scan):
    made = load_segmenter(tool("{input} {output} coarse")).segment(scan)
    assert made.record["resampled_onto_the_scan"]
    want = np.repeat(np.repeat(np.repeat(bright(scan)[::2, ::2, ::2], 2, 0), 2, 1), 2, 2)
    np.testing.assert_array_equal(made.labels.array, want)


def test_folders_and_the_mask(tool, scan, tmp_path):
    code = (
        "import shutil, sys, nibabel as nib, os; out = sys.argv[2];"
        "(name,) = os.listdir(sys.argv[1]); assert name == 'scan.nii.gz', name;"
        "nib.load(sys.argv[3]).to_filename(out + '/made.nii'); open(out + '/log.txt', 'w')"
    )
    command = f'{sys.executable} -c "{code}" {{input_folder}} {{output_folder}} {{mask}}'
    inside = scan.array > 80
    made = load_segmenter(command).segment(scan, inside)
    np.testing.assert_array_equal(made.labels.array, inside)


def test_a_yaml_file_names_the_labels(tool, scan, tmp_path):
    path = tmp_path / "tool.yaml"
    settings = {"command": tool(), "name": "bright", "modality": "T1", "brain_only": True}
    path.write_text(yaml.safe_dump(settings | {"labels": {2: "bone"}}))
    segmenter = load_segmenter(path)
    assert (segmenter.name, segmenter.modality, segmenter.brain_only) == ("bright", "T1w", True)
    made = segmenter.segment(scan)
    assert [(one.value, one.name) for one in made.labels.labels] == [(0, "background"), (2, "bone")]
    nameless = load_segmenter(tool()).segment(scan).labels.labels
    assert [one.name for one in nameless] == ["background", "label-2"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("{input} {output} elsewhere", "made labels that lie outside the scan"),
        ("{input} {output} halves", "holds fractions"),
        ("{input} {output}/no/folder.nii.gz", "failed with exit code 1"),
    ],
)
def test_what_a_program_can_do_wrong(tool, scan, words, problem):
    segmenter = load_segmenter(tool(words))
    with pytest.raises(CaseError, match=problem) as error:
        segmenter.segment(scan)
    assert "\n" not in str(error.value)
    assert "legal: " in str(error.value)


def test_a_program_that_writes_nothing(scan):
    segmenter = load_segmenter("true {input} {output}")
    with pytest.raises(CaseError, match=r"true: wrote no label map \(it wrote nothing\)"):
        segmenter.segment(scan)


def test_a_program_that_hangs(scan, tmp_path):
    path = tmp_path / "slow.yml"
    path.write_text("command: sh -c 'sleep 600; true {input} {output}'\ntime_limit: 0.01\n")
    with pytest.raises(CaseError, match=r"did not end within 0.6 seconds .*longer time_limit"):
        load_segmenter(path).segment(scan)


def test_one_of_several_files(scan, tmp_path):
    copies = "cp {mask} {output_folder}/a_seg.nii.gz; cp {input} {output_folder}/a_pve.nii.gz"
    settings = {"command": f"sh -c '{copies}'"}
    path = tmp_path / "tool.yaml"
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(CaseError, match=r"more than one label map \(it wrote a_pve.nii.gz, a_seg"):
        load_segmenter(path).segment(scan, scan.array > 50)
    path = tmp_path / "better.yaml"
    path.write_text(yaml.safe_dump(settings | {"output_name": "*_seg.nii.gz"}))
    made = load_segmenter(path).segment(scan, scan.array > 50).labels
    np.testing.assert_array_equal(made.array, scan.array > 50)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("tool {input}", "lacks {output}"),
        ("tool {output}", "lacks {input}"),
        ("tool {input} {output} {scan}", "unknown placeholder {scan}"),
        ("tool '{input} {output}", "No closing quotation"),
        ("tool {input} {output} {", "is not legal"),
    ],
)
def test_command_lines_that_are_refused(command, problem):
    with pytest.raises(UsageError, match=problem):
        load_segmenter(command)


def test_a_program_that_is_not_installed():
    segmenter = load_segmenter("no-such-tool-17 {input} {output}")
    with pytest.raises(UsageError, match="no-such-tool-17: is not a program"):
        segmenter.load()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("command: 'tool {input} {output}'\ncolour: red", "unknown setting colour; legal: name, "),
        ("command: 'tool {input} {output}'\nmodality: T9", "illegal setting modality 'T9'"),
        ("command: 'tool {input} {output}'\ntime_limit: 0", "illegal setting time_limit 0"),
        ("command: 'tool {input} {output}'\nlabels: [1, 2]", "illegal setting labels"),
        ("command: [", "cannot be read"),
        ("- command", "holds no settings"),
    ],
)
def test_yaml_files_that_are_refused(tmp_path, text, problem):
    path = tmp_path / "tool.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=problem) as error:
        load_segmenter(path)
    assert "\n" not in str(error.value)


def test_a_scan_is_given_as_it_was(scan, tmp_path):
    kept = tmp_path / "kept.nii.gz"
    command = f"sh -c 'cp {{input}} {kept}; cp {{mask}} {{output}}'"
    load_segmenter(command).segment(scan, scan.array > 50)
    given = nib.load(kept)
    np.testing.assert_array_equal(np.asarray(given.dataobj), scan.array)
    np.testing.assert_allclose(given.affine, scan.affine)
