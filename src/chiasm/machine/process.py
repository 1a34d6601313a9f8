"""Run another program in a process of its own, with a time limit and without orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_SHOWN_LINES, _SHOWN_LETTERS = 3, 400  # of what a failed program printed
_GRACE = 5.0  # seconds between the request to end and the kill


class ProgramError(Exception):
    """A program failed or took too long. The message says what happened, without a full stop."""


class TimeLimitError(ProgramError):
    """A program took too long."""


def run_program(words: Sequence[str], log: Path, *, seconds: float | None = None) -> float:
    """Run a program until it ends.

    The program is not run by a shell, reads nothing, and has a process group of its own. If it
    takes too long, or this process is interrupted, it is ended together with its children.

    Parameters
    ----------
    words : sequence of str
        The program and its arguments.
    log : Path
        The file for what it prints.
    seconds : float, optional
        The time limit.

    Returns
    -------
    float
        The seconds that it took.

    Raises
    ------
    ProgramError
        It cannot be started, ends with an exit code other than 0, or exceeds the time limit.
    """
    start = time.monotonic()
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"cannot be started ({error.strerror or error})") from None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            said = f"did not end within {_duration(seconds or 0)}{_printed(log)}"
            raise TimeLimitError(said) from None
        except BaseException:
            _end(process)
            raise
    if code:
        ended = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        raise ProgramError(f"{ended}{_printed(log)}")
    return time.monotonic() - start


def _printed(log: Path) -> str:
    with log.open("rb") as file:
        return last_lines(file)


def last_lines(file: IO[bytes]) -> str:
    """What a program printed last, in brackets, as the end of a sentence."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 16384))
    text = file.read().decode("utf-8", "replace")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    shown = " / ".join([line for line in lines if line][-_SHOWN_LINES:])
    return f" (its last lines: {shown[-_SHOWN_LETTERS:]})" if shown else " (it printed nothing)"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all processes of its group, first politely."""
    signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    # Children may outlive the program itself, so the group is killed in any case.
    signal_group(process, signal.SIGKILL)
    process.wait()


def signal_group(process: subprocess.Popen[Any], number: int) -> None:
    """Send a signal to all processes of a program's group, if any are left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
