"""The cost of a call: wall time and peak memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar

from chiasm.machine.device import resolve_device

Result = TypeVar("Result")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # proc(5): resets VmHWM to the memory that is resident now


@dataclass(frozen=True)
class Cost(Generic[Result]):
    """The result of a call, its wall time in seconds, and its peak memory in MiB."""

    result: Result
    seconds: float
    memory_mb: float


def memory_is(device: str) -> str:
    """A description of how `measure` finds the peak memory on a device."""
    if resolve_device(device).type == "cuda":
        return "GPU memory, its peak during the call (torch.cuda.max_memory_allocated)"
    if _can_forget():
        return "resident memory of the whole process, its peak during the call (VmHWM)"
    return "resident memory of the whole process, its peak since it began (ru_maxrss)"


def measure(call: Callable[[], Result], device: str) -> Cost[Result]:
    """Run a call and measure its cost; `memory_is` describes which memory is counted.

    Parameters
    ----------
    call : callable
        Takes no arguments.
    device : str
        The device on which its networks run, as in `chiasm.machine.device.resolve_device`.
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
    """Reset the peak that `peak_mb` returns, if the system allows it (see `memory_is`)."""
    import torch

    where = resolve_device(device)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    else:
        _can_forget()


def peak_mb(device: str) -> float:
    """Peak memory since `forget_peak`, in MiB; `memory_is` describes which memory is counted."""
    import torch

    where = resolve_device(device)
    peak = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else _peak()
    return peak / 2**20


def _can_forget() -> bool:
    """Reset the system's record of the process's peak memory; returns whether this worked."""
    try:
        _CLEAR.write_text(_FORGET_PEAK)
    except OSError:
        return False
    return True


def _peak() -> int:
    """Peak resident memory since the last reset, in bytes."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
