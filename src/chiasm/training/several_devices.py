"""Training on several devices of one machine. Each has a process, which Lightning starts.

Each process draws its own share of every batch. Lightning (its strategy DDP) averages the gradients
of all processes, so that all have the same weights. The first process alone writes files.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from chiasm.errors import UsageError, explain

# Seeds of settings are below this number, so that no two processes draw the same.
_SEEDS = 2**30


@dataclass(frozen=True)
class Process:
    """One of the processes of a training.

    Attributes
    ----------
    rank : int
        0 is the process that the user started.
    count : int
        How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The seed of this process; that of the first is ``seed`` itself."""
        return seed + self.rank * _SEEDS

    def share(self, batch: int) -> int:
        """How many samples of a batch this process draws."""
        return batch // self.count


def this_process(count: int) -> Process:
    """This process, out of ``count``. Lightning and torchrun number them in the environment."""
    return Process(int(os.environ.get("LOCAL_RANK", 0)) if count > 1 else 0, count)


def check_devices(count: int, batch: int, device: Any) -> None:
    """Check a number of devices before any image is read.

    Parameters
    ----------
    count : int
    batch : int
        Number of samples in a batch.
    device : torch.device

    Raises
    ------
    UsageError
        There are not as many devices, they cannot share the batch, or one device is named.
    """
    import torch

    if count < 1:
        raise UsageError(explain("--devices", count, "is not legal", "at least 1"))
    if count == 1:
        return
    if device.index is not None or device.type == "mps":
        problem = f"contradicts --device {device}, which is one device"
        raise UsageError(explain("--devices", count, problem, "--device cuda or --device cpu"))
    if device.type == "cuda" and count > (there := torch.cuda.device_count()):
        problem = "is more than this machine has"
        raise UsageError(explain("--devices", count, problem, f"at most {there}"))
    if batch % count:
        problem = f"cannot share a batch of {batch} equally"
        raise UsageError(explain("--devices", count, problem, "a divisor of batch"))


def strategy(count: int, *, in_stages: bool) -> Any:
    """Lightning's strategy for this number of devices.

    A stage of a training gives no gradients to the networks of other stages.
    """
    if count == 1:
        return "auto"
    from lightning.pytorch.strategies import DDPStrategy

    # Lightning tells each process its number, which is of no use to the reader.
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    return DDPStrategy(find_unused_parameters=in_stages)
