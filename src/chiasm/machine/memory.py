"""The memory that a computation needs, found without running it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chiasm.machine.free_memory import CGROUP as _CGROUP
from chiasm.machine.free_memory import free_bytes


class LivingTensors(TorchDispatchMode):
    """A context that counts the bytes of all tensors that operations return and that still exist.

    Attributes
    ----------
    now, peak : int
        Bytes at present, and at the peak.
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
            if id(one) not in given:  # otherwise the result is a view of an argument
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
    """The peak memory of a computation in bytes, without its arguments and the weights.

    The computation is run on tensors without content (`torch._subclasses.FakeTensorMode`), so it
    needs neither the memory nor the time. Working memory inside single operations is not counted.

    Parameters
    ----------
    call : callable
        The computation. It must not depend on the content of a tensor.
    *arguments : Tensor
        Its arguments.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        empty = [mode.from_tensor(one) for one in arguments]
        with torch.inference_mode(False), torch.no_grad(), LivingTensors() as living:
            call(*empty)
    return living.peak


def available_bytes(device: torch.device) -> int | None:
    """The free memory of a device in bytes, or None if the device does not report it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    if device.type != "cpu":
        return None
    return free_bytes(_CGROUP)
