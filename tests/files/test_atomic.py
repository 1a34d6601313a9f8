"""A file is there whole or not at all."""

import errno
import os
import resource

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.errors import CaseError
from chiasm.image.volume import LabelVolume, Volume

VOLUME = Volume(np.random.default_rng(0).normal(size=(20, 20, 20)), np.eye(4))
LABELS = LabelVolume(VOLUME.array > 0, np.eye(4))


def everything_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    path = files.write_text(tmp_path / "a/b.txt", "text ✓")
    assert path.read_text("utf-8") == "text ✓"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"old")

    def half():
        with files.atomic(tmp_path / "a.nii.gz") as draft:
            assert draft.parent == tmp_path
            assert draft.name.endswith(".nii.gz")
            draft.write_bytes(b"half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert everything_below(tmp_path) == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == b"old"


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("what", [VOLUME, LABELS])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, where, what):
    monkeypatch.setattr(os, where, no_space)
    with pytest.raises(CaseError) as caught:
        files.write(what, tmp_path / "a.nii.gz")
    assert "a.nii.gz: could not be written (No space left on device)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("what", [VOLUME, LABELS])
def test_a_limit_of_the_system_in_the_middle_of_a_file(tmp_path, what):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CaseError, match=r"a_dseg\.nii: could not be written"):
            files.write(what, tmp_path / "a_dseg.nii")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("what", [VOLUME, LABELS])
def test_an_existing_file_is_kept_unless_told(tmp_path, what):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(CaseError, match=r"a\.nii\.gz: exists; .*--overwrite"):
        files.write(what, path)
    assert path.read_bytes() == b"old"
    files.write(what, path, overwrite=True)
    assert nib.load(path).shape == (20, 20, 20)


def test_an_existing_table_of_labels_is_kept_unless_told(tmp_path):
    (tmp_path / "a_dseg.tsv").write_text("old")
    with pytest.raises(CaseError, match=r"a_dseg\.tsv: exists"):
        files.write(LABELS, tmp_path / "a_dseg.nii.gz")
    assert everything_below(tmp_path) == ["a_dseg.tsv"]


def test_outputs_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    fine = tmp_path / "new/a.nii.gz"
    assert files.check_output(fine, suffixes=files.endings()) == fine
    assert not fine.parent.exists()
    assert files.check_output(tmp_path / "file", overwrite=True) == tmp_path / "file"
    for path, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "file", "exists"),
        (tmp_path / "file/below.nii", "cannot be written into"),
        (tmp_path / "a.doc", "ending"),
    ):
        suffixes = files.endings() if path.suffix == ".doc" else None
        with pytest.raises(CaseError, match=problem) as caught:
            files.check_output(path, suffixes=suffixes, argument="--report")
        assert str(caught.value).startswith(f"--report {path}: ")


def test_an_ending_that_names_no_format_is_refused(tmp_path):
    with pytest.raises(CaseError, match=r"a\.doc: .*\.nii\.gz"):
        files.write(VOLUME, tmp_path / "a.doc")
