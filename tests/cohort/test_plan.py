"""What the outputs of scans are called, and that no input is written over."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.cohort.plan import map_beside, plan, with_desc
from chiasm.errors import CaseError, UsageError
from chiasm.files.find import find_scans
from chiasm.image.volume import LabelVolume, Volume

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
VOLUME = Volume(ARRAY, np.eye(4))
LABELS = LabelVolume(ARRAY.astype(int) % 4, np.eye(4))
OUT = Path("out")


def scan(folder, *paths):
    for name in paths:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(ARRAY, np.eye(4)).to_filename(path)
    return folder / paths[-1]


def planned(inputs, output=OUT, suffixes=("T1w",), leave_out=None, **options):
    """The outputs of each case, below the output folder."""
    cases = plan(find_scans(inputs, leave_out=leave_out), output, suffixes, **options)
    return [[path.relative_to(output).as_posix() for path in case.outputs] for case in cases]


def test_the_structure_of_the_input_folder_is_repeated(tmp_path):
    scan(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_PDw.nii.gz", "b/IXI002-Guys-0828-T2.nii")
    single = scan(tmp_path, "deep/down/c_FLAIR.nii")
    assert planned([single, tmp_path], suffixes=("T1w", "dseg"), folder=True) == [
        ["c_T1w.nii", "c_dseg.nii"],
        ["b/IXI002-Guys-0828_T1w.nii", "b/IXI002-Guys-0828_dseg.nii"],
        [
            "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
            "sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz",
        ],
    ]


def test_names_that_meet_say_what_they_are_from(tmp_path):
    scan(tmp_path, "sub-1_PDw.nii", "sub-1_T2w.nii", "sub-1.nii", "sub-2_PDw.nii")
    assert planned([tmp_path], suffixes=("T1w",)) == [
        ["sub-1_desc-fromSub1_T1w.nii"],
        ["sub-1_desc-fromPDw_T1w.nii"],
        ["sub-1_desc-fromT2w_T1w.nii"],
        ["sub-2_T1w.nii"],
    ]


def test_a_name_never_gets_a_second_desc(tmp_path):
    scan(
        tmp_path,
        "sub-1_desc-preproc_PDw.nii.gz",
        "sub-1_desc-preproc_T2w.nii.gz",
        "sub-2_desc-preproc_T2w.nii.gz",
    )
    assert planned([tmp_path], suffixes=("T1w", "dseg"), maps=("std",), folder=True) == [
        [f"sub-1_desc-preproc{one}.nii.gz" for one in ("FromPDw_T1w", "FromPDw_dseg")]
        + ["sub-1_desc-preprocFromPDwStd_T1w.nii.gz"],
        [f"sub-1_desc-preproc{one}.nii.gz" for one in ("FromT2w_T1w", "FromT2w_dseg")]
        + ["sub-1_desc-preprocFromT2wStd_T1w.nii.gz"],
        [f"sub-2_desc-preproc{one}.nii.gz" for one in ("_T1w", "_dseg", "Std_T1w")],
    ]


@pytest.mark.parametrize(
    ("entities", "words", "expected"),
    [
        ("sub-01", "from PDw", "sub-01_desc-fromPDw"),
        ("sub-01_ses-1_desc-preproc", "from PDw", "sub-01_ses-1_desc-preprocFromPDw"),
        ("sub-01_desc-preproc_acq-x", "std", "sub-01_acq-x_desc-preprocStd"),
        ("desc-a_desc-b_sub-01", "std", "sub-01_desc-aBStd"),
        ("sub-01_desc-pre_proc", "std", "sub-01_proc_desc-preStd"),
        ("sub-01_desc-pre+2-proc", "from my scan_v2", "sub-01_desc-pre2ProcFromMyScanV2"),
        ("Größe", "from Müller ä", "Größe_desc-fromMullerA"),
        ("", "std", "desc-std"),
    ],
)
def test_one_desc_in_camel_case_at_the_end(entities, words, expected):
    assert with_desc(entities, words) == expected
    assert re.fullmatch(r"(?:.*_)?desc-[A-Za-z0-9]+", with_desc(entities, words))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_desc-std_T1w.nii.gz"),
        ("sub-01_desc-preproc_T1w.nii.gz", "sub-01_desc-preprocStd_T1w.nii.gz"),
        ("three.nii.gz", "three_desc-std.nii.gz"),
        ("T1w.png", "T1w_desc-std.png"),
        ("IXI002-Guys-0828-T1.nii", "IXI002-Guys-0828_desc-std_T1.nii"),
    ],
)
def test_the_file_of_the_deviation(name, expected):
    assert map_beside(Path("x") / name, "std") == Path("x") / expected


def test_one_file_for_one_named_scan(tmp_path):
    path = scan(tmp_path, "in/a_PDw.nii.gz")
    output = tmp_path / "made.nii.gz"
    for inputs in ([path], [path, tmp_path / "in/../in/a_PDw.nii.gz"]):
        (case,) = plan(find_scans(inputs), output, ["T1w"])
        assert (case.scan.path, case.outputs) == (path, (output,))
    (case,) = plan(find_scans([path]), output, ["T1w"], maps=("std",))
    assert case.outputs == (output, tmp_path / "made_desc-std.nii.gz")
    assert plan(find_scans([tmp_path / "nowhere.nii"]), output, ["T1w"]) == []
    other = scan(tmp_path, "b_PDw.nii.gz")
    for inputs in (
        [path.parent],
        [path, path.parent],
        [path, other],
        [path, tmp_path / "nowhere.nii"],
    ):
        with pytest.raises(UsageError, match="names one file"):
            plan(find_scans(inputs), output, ["T1w"])
    with pytest.raises(UsageError, match="several outputs"):
        plan(find_scans([path]), output, ["T1w", "dseg"], folder=True)


def test_two_spellings_of_one_file_are_one_case(tmp_path, monkeypatch):
    scan(tmp_path, "in/a_PDw.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    ways = ["in/a_PDw.nii.gz", "./in/../in/a_PDw.nii.gz", tmp_path / "in/a_PDw.nii.gz", "link"]
    assert planned([Path(one) for one in ways]) == [["a_T1w.nii.gz"]]


def test_two_scans_of_one_output_are_refused(tmp_path):
    scan(tmp_path, "one/a_PDw.nii", "two/a_PDw.nii")
    with pytest.raises(UsageError) as error:
        planned([tmp_path / "one", tmp_path / "two"])
    for part in ("one/a_PDw.nii", "two/a_PDw.nii", "would hold the results of both"):
        assert part in str(error.value)


def outputs(folder, subject, label_mark="synthetic"):
    anat = folder / subject / "anat"
    files.write(VOLUME, anat / f"{subject}_T1w.nii.gz", synthetic=True)
    files.write(LABELS, anat / f"{subject}_dseg.nii.gz", mark=label_mark)


@pytest.mark.parametrize("place", ["derivatives/chiasm", "made", "."])
@pytest.mark.parametrize("described", [True, False])
def test_a_second_run_into_the_dataset_does_the_new_subjects(tmp_path, place, described):
    """The outputs of the first run are no inputs, and every subject has a case again."""
    if described:
        (tmp_path / "dataset_description.json").write_text('{"Name": "x"}')
    scan(tmp_path, *(f"{one}/anat/{one}_T2w.nii.gz" for one in ("sub-01", "sub-02")))
    output = tmp_path / place
    outputs(output, "sub-01")
    search = find_scans([tmp_path], leave_out="T1w")
    cases = plan(search, output, ["T1w", "dseg"], folder=True)
    assert [case.scan.path.name for case in cases] == ["sub-01_T2w.nii.gz", "sub-02_T2w.nii.gz"]
    finished, new = cases
    with pytest.raises(CaseError, match="exists"):
        files.check_output(finished.outputs[0])
    for path in new.outputs:
        files.check_output(path)


@pytest.mark.parametrize(
    ("kept", "suffixes"), [("sub-1_T1w.nii.gz", ["T1w"]), ("sub-1_dseg.nii.gz", ["T1w", "dseg"])]
)
def test_files_of_the_dataset_are_never_outputs(tmp_path, kept, suffixes):
    """A real scan of the target, and a manual label map, in the folder that is written into."""
    scan(tmp_path, "sub-1_T2w.nii.gz", kept)
    with pytest.raises(UsageError, match=f"{kept}: is one of the input files"):
        planned([tmp_path], tmp_path, suffixes, leave_out="T1w")
    assert planned([tmp_path], tmp_path / "new", suffixes, leave_out="T1w")


def test_a_link_whose_content_is_absent_is_not_replaced(tmp_path):
    scan(tmp_path, "sub-1_T2w.nii.gz")
    link = tmp_path / "sub-1_T1w.nii.gz"
    link.symlink_to(".git/annex/objects/none.nii.gz")
    with pytest.raises(UsageError, match="is one of the input files"):
        planned([tmp_path], tmp_path)
    with pytest.raises(CaseError, match="exists"):
        files.check_output(link)


def test_an_output_of_an_earlier_run_that_is_named_is_an_input(tmp_path):
    outputs(tmp_path, "sub-01")
    made = tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    with pytest.raises(UsageError, match="is one of the input files"):
        plan(find_scans([made]), made.parent, ["T1w"])
    (case,) = plan(find_scans([made]), made.parent, ["dseg"])
    assert case.scan.warnings
