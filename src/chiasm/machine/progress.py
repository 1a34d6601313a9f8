"""Progress of a long operation, and the time that remains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
_LINE_EVERY = 30.0  # seconds between lines if the output is not a terminal
_hidden = False


def hide_progress() -> None:
    """Show no progress from now on: of several processes that do the same, one shows it."""
    global _hidden
    _hidden = True


@contextmanager
def progress(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show a bar on standard error if it is a terminal, else print a line every 30 s.

    Parameters
    ----------
    description : str
    total : int
        Total number of units.
    done : int
        Number of units that were finished before; they do not count for the time that remains.

    Yields
    ------
    callable
        To be called with the number of units just finished.
    """
    if _hidden:
        yield lambda n: None
        return
    if not sys.stderr.isatty():
        yield _lines(description, total, done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done)
        yield lambda n: bar.advance(task, n)


def _lines(description: str, total: int, before: int) -> Advance:
    start = last = time.monotonic()
    done = before

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= _LINE_EVERY and done < total:
            last = now
            left = (now - start) / (done - before) * (total - done)
            print(f"{description}: {done}/{total}, {left:.0f} s left", file=sys.stderr, flush=True)

    return advance
