"""What a call costs: seconds, and memory at its peak."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar

from chiasm.device import resolve_device

Result = TypeVar("Result")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # proc(5): resets VmHWM to what is resident now


@dataclass(frozen=True)
class Cost(Generic[Result]):
    """What a call returned, its wall time in seconds, and its peak memory in MiB."""

    result: Result
    seconds: float
    memory_mb: float


def memory_is(device: str) -> str:
    """How `measure` finds the peak memory on a device, in words."""
    if resolve_device(device).type == "cuda":
        return "torch.cuda.max_memory_allocated during the call"
    if _can_forget():
        return "resident memory of the whole process, its peak during the call (VmHWM)"
    return "resident memory of the whole process, its peak since it began (ru_maxrss)"


def measure(call: Callable[[], Result], device: str) -> Cost[Result]:
    """Run a call and say what it cost; `memory_is` says what of memory is counted.

    Parameters
    ----------
    call : callable
        Without arguments.
    device : str
        Where its networks run, as in `chiasm.device.resolve_device`.
    """
    import torch

    where = resolve_device(device)
    on_gpu = where.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(where)
    forget_peak(device)
    start = perf_counter()
    result = call()
    if on_gpu:
        torch.cuda.synchronize(where)
    return Cost(result, perf_counter() - start, peak_mb(device))


def forget_peak(device: str) -> None:
    """From now on `peak_mb` counts anew, where `memory_is` says that it can."""
    import torch

    where = resolve_device(device)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    else:
        _can_forget()


def peak_mb(device: str) -> float:
    """Most memory since it was forgotten, in MiB; `memory_is` says what is counted."""
    import torch

    where = resolve_device(device)
    peak = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else _peak()
    return peak / 2**20


def _can_forget() -> bool:
    """Make the system forget the process's peak so far; whether it can."""
    try:
        _CLEAR.write_text(_FORGET_PEAK)
    except OSError:
        return False
    return True


def _peak() -> int:
    """Bytes resident at the most since the system forgot."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
