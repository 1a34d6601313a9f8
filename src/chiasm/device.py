"""Where networks run. Asking for a device that is not there is an error, never a fallback."""

from __future__ import annotations

import re

from chiasm.errors import UsageError, explain


def check_device(name: str) -> str:
    """Return the name if its form is legal; imports no torch."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UsageError(explain("--device", name, "is not a device", "auto, cpu, cuda[:N], mps"))
    return name


def resolve_device(name: str = "auto"):  # type: ignore[no-untyped-def]  # torch.device, lazily
    """The torch device of a name; "auto" is the first of cuda, mps, cpu that is there.

    Raises
    ------
    UsageError
        Not a device, or not on this machine.
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
