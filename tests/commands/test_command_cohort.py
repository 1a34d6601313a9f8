"""Many scans: finished ones are skipped, others are done again, and jobs divide them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_samples import brain, files_below, save_nifti

from chiasm.cohort.record import RECORDS

COUNT = 4
METHOD = ("--method", "histogram")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "in"
    for number in range(1, COUNT + 1):
        save_nifti(folder / f"sub-{number:02d}_T2w.nii.gz", brain(seed=number))
    return folder


def everything(folder):
    """Names and contents of all files, hidden ones and records too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


def test_finished_scans_are_skipped(chiasm, scans, out):
    words = ("translate", "-i", scans, "-o", out, *METHOD)
    assert chiasm(*words).code == 0
    before, all_of_it = times(out), everything(out)
    assert chiasm(*words).code == 1  # nothing is replaced unless it is asked for
    again = chiasm(*words, "--resume")
    assert again.code == 0
    assert f"{COUNT} of {COUNT} scans were finished before and were skipped." in again.out
    assert "->" not in again.out
    assert times(out) == before
    assert everything(out) == all_of_it


@pytest.mark.parametrize("what", ["source", "output", "gone", "no record", "settings", "mask"])
def test_what_is_stale_is_done_again(what, chiasm, scans, out):
    words = ["translate", "-i", scans, "-o", out, *METHOD]
    assert chiasm(*words).code == 0
    before = times(out)
    first = out / "sub-01_T1w.nii.gz"
    redone = {first.name}
    if what == "source":
        save_nifti(scans / "sub-01_T2w.nii.gz", brain(seed=77))
    elif what == "output":
        content = bytearray(first.read_bytes())
        content[-9] ^= 1
        first.write_bytes(content)
    elif what == "gone":
        first.unlink()
    elif what == "no record":
        (out / RECORDS / f"{first.name}.json").unlink()
    elif what == "settings":
        words[-1], redone = "none", set(before)
    else:
        save_nifti(scans / "sub-01_T2w_mask.nii.gz", (brain(seed=1) > 40).astype(np.uint8))
    result = chiasm(*words, "--resume")
    assert result.code == 0, result.err
    after = times(out)
    assert {name for name in after if after[name] != before.get(name)} == redone


def test_a_file_of_others_is_never_replaced(chiasm, scans, out):
    save_nifti(out / "sub-01_T1w.nii.gz", brain(seed=9))
    mine = (out / "sub-01_T1w.nii.gz").read_bytes()
    result = chiasm("translate", "-i", scans, "-o", out, *METHOD, "--resume")
    assert result.code == 1
    assert "sub-01_T1w.nii.gz: exists" in result.err
    assert (out / "sub-01_T1w.nii.gz").read_bytes() == mine
    assert len(files_below(out)) == COUNT


def test_resume_needs_a_folder(chiasm, scan, out):
    words = ("-i", scan, "-o", out / "a.nii.gz", *METHOD)
    chiasm("translate", *words, "--resume").assert_said("--resume", "names one file")
    assert not out.exists()


def test_one_file_leaves_no_record(chiasm, scan, tmp_path):
    assert chiasm("translate", "-i", scan, "-o", tmp_path / "a.nii.gz", *METHOD).code == 0
    assert not (tmp_path / RECORDS).exists()


def test_jobs_divide_the_scans(chiasm, scans, out, tmp_path, monkeypatch):
    words = ("translate", "-i", scans, *METHOD)
    assert chiasm(*words, "-o", tmp_path / "whole").code == 0
    report = tmp_path / "report.json"
    first = chiasm(*words, "-o", out, "--shard", "1/3", "--report", report)
    assert first.code == 0
    assert "This is share 1/3 of the scans: 2 of 4." in first.out
    assert files_below(out) == ["sub-01_T1w.nii.gz", "sub-04_T1w.nii.gz"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    for task in ("1", "2"):  # counted from 0
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        assert chiasm(*words, "-o", out, "--report", report).code == 0
    assert everything(out) == everything(tmp_path / "whole")
    names = {f"report_shard-{number}of3.json" for number in (1, 2, 3)}
    assert names == {path.name for path in tmp_path.glob("report*")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--executor", "dask"], ["--executor dask", "local, ray"]),
        (["--workers", "2"], ["--workers 2", "--executor ray"]),
        (["--executor", "ray", "--workers", "0"], ["--workers 0", "at least 1"]),
        (["--shard", "3/2"], ["--shard 3/2", "is not a share"]),
    ],
)
def test_what_does_not_fit_is_one_line(words, told, chiasm, scans, out):
    result = chiasm("translate", "-i", scans, "-o", out, *METHOD, *words)
    assert result.code == 2
    result.assert_said(*told)
    assert not out.exists()


def started(*words):
    command = [sys.executable, "-m", "chiasm", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_first(out, process):
    limit = time.monotonic() + 120
    while not any(out.glob("*_T1w.nii.gz")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_request_to_stop_ends_in_order(scans, out, tmp_path):
    for number in range(COUNT + 1, 40):
        save_nifti(scans / f"sub-{number:02d}_T2w.nii.gz", brain((48, 56, 30), seed=number))
    report = tmp_path / "report.json"
    words = ("translate", "-i", scans, "-o", out, *METHOD)
    process = started(*words, "--report", report)
    wait_for_first(out, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "The same command with --resume goes on." in err
    assert "Traceback" not in err
    hidden = [name for name in files_below(out) if name.startswith(".")]
    assert hidden == []
    assert json.loads(report.read_text())["finished"] is False
    again = started(*words, "--resume")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert len(files_below(out)) == 39


@pytest.mark.long
def test_a_run_that_is_killed_at_any_moment_ends_as_if_it_was_not(scans, out, tmp_path):
    """Twenty scans, killed at 50 random moments, each time gone on with."""
    for number in range(COUNT + 1, 21):
        save_nifti(scans / f"sub-{number:02d}_T2w.nii.gz", brain(seed=number))
    words = ("translate", "-i", scans, *METHOD)
    whole = started(*words, "-o", tmp_path / "whole")
    begin = time.monotonic()
    whole.communicate(timeout=300)
    assert whole.returncode == 0
    took = time.monotonic() - begin
    moments = np.random.default_rng(0).uniform(0.5 * took, 1.02 * took, 50)
    for moment in moments:
        process = started(*words, "-o", out, "--resume")
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        if len(list(out.glob("*.nii.gz"))) == 20:  # begin again, so that all moments count
            assert started(*words, "-o", out, "--resume").wait(300) == 0
            assert everything(out) == everything(tmp_path / "whole")
            for path in sorted(out.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
    last = started(*words, "-o", out, "--resume")
    assert last.wait(300) == 0
    assert everything(out) == everything(tmp_path / "whole")
