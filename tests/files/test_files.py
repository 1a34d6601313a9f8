"""Finding scans in folders, and the names and colours of label maps."""

import numpy as np
import pytest

from chiasm import files
from chiasm.errors import CaseError, UsageError
from chiasm.files.find import find_images
from chiasm.image.volume import TISSUES, Label, LabelVolume


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.fixture
def bids(tmp_path):
    touch(
        tmp_path,
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_PDw.NII",
        "sub-01/anat/sub-01_dseg.nii.gz",
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_label-GM_probseg.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/._sub-01_T1w.nii.gz",
        ".cache/sub-01_T1w.nii.gz",
        "participants.tsv",
    )
    return tmp_path


def test_a_folder_means_its_scans_sorted(bids):
    found = [str(path.relative_to(bids)) for path in find_images(bids)]
    assert found == [
        "sub-01/anat/sub-01_PDw.NII",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
    ]


def test_linked_folders_are_followed_once(tmp_path):
    scan = tmp_path / "elsewhere" / "sub-1" / "a_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.touch()
    data = tmp_path / "data"
    data.mkdir()
    (data / "sub-1").symlink_to(scan.parent)
    (data / "again").symlink_to(data)
    (scan.parent / "back").symlink_to(data)
    assert find_images(data) == [data / "sub-1" / "a_T1w.nii.gz"]
    own = data / "sub-2" / "b_T1w.nii.gz"
    own.parent.mkdir()
    own.touch()
    (data / "latest").symlink_to(own.parent)
    assert find_images(data) == [data / "sub-1" / "a_T1w.nii.gz", own]


def test_a_hidden_folder_above_does_not_hide_its_scans(tmp_path):
    touch(tmp_path, ".home/scans/a.png")
    assert find_images(tmp_path / ".home/scans") == [tmp_path / ".home/scans/a.png"]


def test_one_modality_can_be_asked_for(bids):
    found = find_images(bids, modality="t1")
    assert [path.name for path in found] == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]
    with pytest.raises(CaseError, match="holds no FLAIR image"):
        find_images(bids, modality="FLAIR")
    with pytest.raises(UsageError, match="T7"):
        find_images(bids, modality="T7")


def test_a_file_means_itself(bids):
    path = bids / "sub-01/anat/sub-01_dseg.nii.gz"
    assert find_images(path) == [path]


def test_a_folder_without_images_and_a_missing_one_are_refused(tmp_path):
    touch(tmp_path, "a_dseg.nii.gz", "notes.txt")
    with pytest.raises(CaseError, match=r"--data .*holds no image that can .*legal: .*\.nii\.gz"):
        find_images(tmp_path, argument="--data")
    with pytest.raises(CaseError, match=r"nowhere: does not exist"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x/sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("a.b.nii", "a.b"),
        ("A.NII.GZ", "A"),
        ("a.tiff", "a"),
        ("a.txt", "a.txt"),
    ],
)
def test_the_stem_is_the_name_without_the_ending(name, expected):
    assert files.stem(name) == expected


def label_map(values=(0, 1, 2), labels=TISSUES):
    array = np.random.default_rng(0).choice(values, (4, 5, 6))
    return LabelVolume(array, np.eye(4), labels)


def test_the_table_beside_a_label_map(tmp_path):
    labels = (Label(0, "background", "#000000"), Label(17, "left hippocampus", "#dcd814"))
    path = files.write(label_map((0, 17), labels), tmp_path / "sub-01_dseg.nii.gz")
    assert (tmp_path / "sub-01_dseg.tsv").read_text() == (
        "index\tname\tcolor\n0\tbackground\t#000000\n17\tleft hippocampus\t#dcd814\n"
    )
    assert files.read_labels(path).labels == labels


def test_labels_that_no_table_names_are_numbered(tmp_path):
    path = files.write(label_map((0, 5, 9), (Label(5, "five", "#111111"),)), tmp_path / "a.nii")
    assert [label.name for label in files.read_labels(path).labels] == [
        "background", "five", "label-9",
    ]  # fmt: skip
    (tmp_path / "a.tsv").unlink()
    assert [label.name for label in files.read_labels(path).labels] == [
        "background", "label-5", "label-9",
    ]  # fmt: skip


def test_a_table_of_another_program_is_read(tmp_path):
    path = files.write(label_map((0, 1)), tmp_path / "a_dseg.nii.gz")
    table = "\ufeffname\tabbreviation\tindex\nGrey Matter\tGM\t1\n"
    (tmp_path / "a_dseg.tsv").write_text(table, encoding="utf-8")
    grey = files.read_labels(path).labels[1]
    assert (grey.value, grey.name) == (1, "Grey Matter")
    assert grey.colour.startswith("#")


@pytest.mark.parametrize("table", ["index,name\n1,x\n", "index\tname\nx\ty\n", "a\tb\n1\t2\n"])
def test_a_table_that_is_none_is_refused(tmp_path, table):
    path = files.write(label_map(), tmp_path / "a_dseg.nii.gz")
    (tmp_path / "a_dseg.tsv").write_text(table)
    with pytest.raises(CaseError, match=r"a_dseg\.tsv"):
        files.read_labels(path)
