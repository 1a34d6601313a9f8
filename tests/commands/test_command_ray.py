"""Ray runs a cohort in several processes, and nothing is lost if one of them dies."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

pytest.importorskip("ray")

from command_samples import brain, files_below, save_nifti

# A method that ends its own process at the first scan it meets, and then works.
DEADLY = """
import os
import signal
from pathlib import Path

from chiasm.methods.histogram import Histogram
from chiasm.methods.method import Method
from chiasm.registry import METHODS

MARK = Path(os.environ["CHIASM_TEST_MARK"])


class Deadly(Histogram):
    def change(self, unit):
        if not MARK.exists() or MARK.read_text() == "always":
            MARK.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().change(unit)


METHODS.add("deadly", Method("deadly", Deadly), "It dies once.")
"""


def cohort(folder, count, size=(24, 28, 6)):
    for number in range(1, count + 1):
        save_nifti(folder / f"sub-{number:03d}_T2w.nii.gz", brain(size, seed=number))
    return folder


def started(*words, **environment):
    command = [sys.executable, "-m", "chiasm", *map(str, words)]
    given = os.environ | {key: str(value) for key, value in environment.items()}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given
    )


def ended(process, limit=600):
    out, err = process.communicate(timeout=limit)
    return process.returncode, out, err


def everything(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


WORDS = ("--method", "histogram", "--threads", "1")
RAY = ("--executor", "ray", "--workers", "2")


def test_two_processes_give_what_one_gives(tmp_path):
    scans = cohort(tmp_path / "in", 6)
    (scans / "sub-003_T2w.nii.gz").write_bytes(b"no image")
    report = tmp_path / "report.json"
    one = started("translate", "-i", scans, "-o", tmp_path / "one", *WORDS)
    assert ended(one)[0] == 1
    two = started(
        "translate", "-i", scans, "-o", tmp_path / "two", *WORDS, *RAY, "--report", report
    )
    code, out, err = ended(two)
    assert code == 1
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if "sub-003" in line]
    assert out.count("->") == 5
    assert everything(tmp_path / "two") == everything(tmp_path / "one")
    cases = json.loads(report.read_text())["cases"]
    assert [os.path.basename(case["input"])[:7] for case in cases] == [
        f"sub-{number:03d}" for number in range(1, 7)
    ]


@pytest.mark.long
@pytest.mark.parametrize("when", ["once", "always"])
def test_a_process_that_dies_costs_no_case(when, tmp_path):
    scans = cohort(tmp_path / "in", 3 if when == "once" else 1)
    plugin = tmp_path / "deadly.py"
    plugin.write_text(DEADLY)
    mark = tmp_path / "mark"
    if when == "always":
        mark.write_text("always")
    words = ("translate", "-i", scans, "-o", tmp_path / "out", "--method", "deadly")
    environment = {"CHIASM_PLUGINS": plugin, "CHIASM_TEST_MARK": mark}
    process = started(*words, "--threads", "1", "--executor", "ray", **environment)
    code, _, err = ended(process)
    if when == "once":
        assert (code, err) == (0, "")
        assert len(files_below(tmp_path / "out")) == 3
    else:
        assert code == 1
        lines = [line for line in err.splitlines() if "was lost 3 times" in line]
        assert len(lines) == 1
        assert not (tmp_path / "out").exists() or files_below(tmp_path / "out") == []


def test_more_processes_than_cpus_are_refused(tmp_path):
    scans = cohort(tmp_path / "in", 1)
    words = ("translate", "-i", scans, "-o", tmp_path / "out", *WORDS)
    code, _, err = ended(started(*words, "--executor", "ray", "--workers", "4096"))
    assert code == 2
    assert "--workers 4096: needs" in err


@pytest.mark.long
def test_two_hundred_cases_survive_the_loss_of_a_process_every_few_seconds(tmp_path):
    scans = cohort(tmp_path / "in", 200, size=(96, 112, 90))
    (scans / "sub-077_T2w.nii.gz").write_bytes(b"no image")
    assert ended(started("translate", "-i", scans, "-o", tmp_path / "one", *WORDS), 1800)[0] == 1
    process = started("translate", "-i", scans, "-o", tmp_path / "two", *WORDS, *RAY)
    killed = []

    def kill_workers():
        while process.poll() is None:
            time.sleep(4)
            own = psutil.Process(process.pid)
            workers = [
                one for one in own.children(recursive=True) if "Worker" in " ".join(one.cmdline())
            ]
            if workers:
                victim = workers[len(killed) % len(workers)]
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)

    killer = threading.Thread(target=kill_workers, daemon=True)
    killer.start()
    code, _, err = ended(process, 1800)
    assert code == 1
    assert len(killed) >= 5
    assert len([line for line in err.splitlines() if line.startswith("chiasm: ")]) == 1
    assert everything(tmp_path / "two") == everything(tmp_path / "one")
    assert len(list((tmp_path / "two").glob("*.nii.gz"))) == 199
