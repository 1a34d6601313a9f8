"""Programs are run to their end, or ended with all their children."""

import sys
import time

import pytest

from chiasm.machine.process import ProgramError, run_program


def python(code):
    return [sys.executable, "-c", code]


def gone(number, within=5.0):
    """Whether a process does not run any more; one that nobody waited for is gone too."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            with open(f"/proc/{number}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_program_that_ends_well(tmp_path):
    seconds = run_program(python("print('done')"), tmp_path / "log")
    assert 0 < seconds < 60
    assert (tmp_path / "log").read_text() == "done\n"


def test_the_last_lines_of_a_program_that_fails(tmp_path):
    code = "import sys; print('one'); print('two  words'); print(); print('three'); sys.exit(7)"
    with pytest.raises(ProgramError) as error:
        run_program(python(f"print('zero'); {code}"), tmp_path / "log")
    assert str(error.value) == "failed with exit code 7 (its last lines: one / two words / three)"


def test_a_program_that_prints_nothing(tmp_path):
    with pytest.raises(ProgramError, match=r"ended by signal 9 \(it printed nothing\)"):
        run_program(python("import os; os.kill(os.getpid(), 9)"), tmp_path / "log")


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(ProgramError, match=r"cannot be started \(No such file"):
        run_program([str(tmp_path / "tool")], tmp_path / "log")


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path):
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    start = time.monotonic()
    with pytest.raises(ProgramError, match="did not end within 2 seconds"):
        run_program(python(code), tmp_path / "log", seconds=2)
    assert time.monotonic() - start < 30
    assert gone(int((tmp_path / "child").read_text()))


def test_an_interruption_ends_the_program(tmp_path, monkeypatch):
    import subprocess

    started = []

    class Interrupted(subprocess.Popen):
        def wait(self, timeout=None):
            if not started:
                started.append(self.pid)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_program(python("import time; time.sleep(600)"), tmp_path / "log")
    assert gone(started[0])
