"""How much memory is free on this computer, and an error if a step needs more.

This module does not import torch, so that code that reads files can use it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil

from chiasm.errors import CaseError, explain

# The folder in which Linux reports a container's memory limit (control groups, version 2).
CGROUP = Path("/sys/fs/cgroup")
# Memory that counts as used but that the system frees when it is short: caches of files and names.
_RECLAIMABLE = ("active_file", "inactive_file", "slab_reclaimable")


def free_bytes(cgroup: Path = CGROUP) -> int:
    """The memory that this process may still use, in bytes.

    This is the smallest of three values: the available memory of the computer, the memory that
    remains below the limit of the container (control groups, version 2), and the memory that
    remains below the limit on the address space of the process (``ulimit -v``).

    Parameters
    ----------
    cgroup : Path
        The folder that describes the container's memory limit.
    """
    limits = [psutil.virtual_memory().available, _left_in_container(cgroup), _left_to_process()]
    return max(0, min(one for one in limits if one is not None))


def _left_in_container(cgroup: Path) -> int | None:
    """The memory that remains below the container's limit, in bytes; None without a limit.

    The container counts caches of files as used, so they are added back.
    """
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text() for name in ("max", "current"))
        lines = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        kinds = {name: int(size) for name, size in lines}
        return int(limit) - int(used) + sum(kinds[name] for name in _RECLAIMABLE)
    except (OSError, ValueError, KeyError):  # there is no limit, or it is "max"
        return None


def _left_to_process() -> int | None:
    """The memory that remains below the limit on the address space, in bytes, if there is one."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - psutil.Process().memory_info().vms


def does_not_fit(
    argument: str, value: Any, what: str = "", needed: int | None = None, legal: str = ""
) -> CaseError:
    """The error for a valid scan that is too large for the free memory.

    Parameters
    ----------
    argument, value : str
        As in `chiasm.errors.explain`.
    what : str
        What the memory is needed for, e.g. ``"to be read"``; may be empty.
    needed : int, optional
        The memory that is needed in bytes, if it is known.
    legal : str
        What would work.
    """
    problem = f"does not fit the memory that is free{what and ' ' + what}"
    if needed is not None:
        problem += f": about {_in_words(needed)} are needed, {_in_words(free_bytes())} are free"
    legal = legal or "a smaller scan, or a computer with more memory"
    return CaseError(explain(argument, value, problem, legal))


def check_fits(needed: int, argument: str, value: Any, what: str = "", legal: str = "") -> None:
    """Refuse a step that needs more memory than is free, before it starts.

    Raises
    ------
    CaseError
        ``needed``, in bytes, is more than `free_bytes`.
    """
    if needed > free_bytes():
        raise does_not_fit(argument, value, what, needed, legal)


def _in_words(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"
