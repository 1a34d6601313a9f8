"""Keeps freed memory in the process, because asking the system for it again takes time."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3), and the sizes in bytes below which memory is kept.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library reuse freed blocks instead of returning them to the system.

    A training allocates the same large tensors in every iteration. If they are returned to the
    system each time, it clears their pages again, which takes up to a third of the time on a CPU.
    The memory of the process stays at its peak instead.

    Returns
    -------
    bool
        Whether the C library knows this setting (glibc does; it is false on other systems).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE) and mallopt(_TRIM_THRESHOLD, _LARGE))
