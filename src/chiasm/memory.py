"""Whether a computation fits the memory, found out without running it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Where Linux says what a container may take (control groups, version 2).
_CGROUP = Path("/sys/fs/cgroup")
# What a container is charged with and gives back when memory is short: caches of files and names.
_RECLAIMABLE = ("active_file", "inactive_file", "slab_reclaimable")


class LivingTensors(TorchDispatchMode):
    """Counts, while it is entered, the bytes of what operations have returned and is still alive.

    Attributes
    ----------
    now, peak : int
        Bytes at this moment, and at the most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.now = 0
        self.known: dict[int, Any] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        result = function(*arguments, **(named or {}))
        given = {id(one) for one in _storages([arguments, named])}
        for one in _storages(result):
            if id(one) not in given:  # else a view
                self._count(one)
        return result

    def _count(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self.known:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self.known[key]

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _storages(tree: Any) -> list[Any]:
    return [one.untyped_storage() for one in tree_leaves(tree) if isinstance(one, Tensor)]


def peak_bytes(call: Callable[..., Any], *arguments: Tensor) -> int:
    """What a computation holds at its peak, beside its arguments and the weights.

    It is run on tensors without content (`torch._subclasses.FakeTensorMode`), so it takes neither
    that memory nor that time. Working memory inside single operations is not counted.

    Parameters
    ----------
    call : callable
        Of these arguments; may do nothing that depends on the content of a tensor.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        empty = [mode.from_tensor(one) for one in arguments]
        with torch.inference_mode(False), torch.no_grad(), LivingTensors() as living:
            call(*empty)
    return living.peak


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free there; None where that cannot be asked."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    if device.type != "cpu":
        return None
    free = psutil.virtual_memory().available
    try:  # a container's limit, in which files' caches count as used
        limit, used = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        lines = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        kinds = {name: int(size) for name, size in lines}
        given_back = sum(kinds[name] for name in _RECLAIMABLE)
        return min(free, int(limit) - int(used) + given_back)
    except (OSError, ValueError, KeyError):  # none, or "max"
        return free
