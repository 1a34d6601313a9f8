"""The device on which networks run. A device that is missing is an error, never a fallback."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chiasm.errors import UsageError, explain


def check_device(name: str) -> str:
    """Return the name if it has a legal form. This function does not import torch."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UsageError(explain("--device", name, "is not a device", "auto, cpu, cuda[:N], mps"))
    return name


@dataclass(frozen=True)
class Resources:
    """The device and batch size of a run. They do not change the result beyond rounding.

    Parameters
    ----------
    batch : int
        Number of slices (of volumes, for a 3D network) in one network evaluation.
    device : str
        auto, cpu, cuda, cuda:N or mps.

    Raises
    ------
    UsageError
        A batch below 1, or a name that is no device. Whether the device is there is asked when
        it is used (`resolve_device`).
    """

    batch: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.batch, int) or self.batch < 1:
            legal = "an integer of at least 1"
            raise UsageError(explain("--batch", self.batch, "is not legal", legal))
        check_device(self.device)


def resolve_device(name: str = "auto"):  # type: ignore[no-untyped-def]  # torch.device, lazily
    """The torch device of a name; "auto" is the first available of cuda, mps and cpu.

    Raises
    ------
    UsageError
        The name is not a device, or the device is not on this machine.
    """
    import torch

    check_device(name)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, yes in there.items() if yes), "cpu")
    kind, _, index = name.partition(":")
    missing = kind in there and not there[kind]
    if missing or (kind == "cuda" and index and int(index) >= torch.cuda.device_count()):
        legal = ", ".join(["auto", "cpu", *(kind for kind, yes in there.items() if yes)])
        raise UsageError(explain("--device", name, "is not on this machine", legal))
    return torch.device(name)


def set_threads(threads: int | None) -> None:
    """Limit the CPU threads of the networks and of the LMI kernel; None leaves them as they are.

    Raises
    ------
    UsageError
        The number is below 1.
    """
    if threads is None:
        return
    if threads < 1:
        raise UsageError(explain("--threads", threads, "is not legal", "at least 1"))
    import torch

    torch.set_num_threads(threads)  # the LMI kernel uses the same number


def fast_precision(device) -> str:  # type: ignore[no-untyped-def]  # torch.device, lazily
    """The precision of Lightning in which a device trains fast.

    It is bf16-mixed if the device computes in bfloat16, and 32-true otherwise. Other CPUs imitate
    bfloat16, and some of them then take 200 times as long.
    """
    import torch

    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        if hasattr(torch.cpu, "get_capabilities"):
            found = torch.cpu.get_capabilities()
            fast = any(there for name, there in found.items() if name.endswith("bf16"))
        else:  # an older torch
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"
