"""How much memory torch operations hold at one time."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Held(TorchDispatchMode):
    """Adds up the storages that operations return and that are still alive."""

    def __init__(self):
        super().__init__()
        self.known, self.held, self.peak = set(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for leaf in tree_leaves(args):
            # What comes in from outside is not counted.
            if isinstance(leaf, torch.Tensor):
                self.known.add(leaf.untyped_storage()._cdata)
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage):
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.held += storage.nbytes()
            weakref.finalize(storage, self._release, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.held)

    def _release(self, address, size):
        self.known.discard(address)
        self.held -= size


def peak_memory(function):
    """Bytes of tensors that ``function`` makes and holds at one time, and what it returns."""
    with _Held() as mode:
        result = function()
    return mode.peak, result
