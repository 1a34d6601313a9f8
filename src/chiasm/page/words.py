"""Names and values of code, as a reader of a page sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def in_words(value: Any) -> str:
    """A setting as text without the notation of a programming language.

    >>> in_words({"samples": 4, "detail_transfer": False, "planes": ["axial", "coronal"]})
    'samples: 4, detail transfer: no, planes: axial, coronal'
    """
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(key).replace('_', ' ')}: {in_words(one)}" for key, one in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    if value is None or isinstance(value, bool):
        return {None: "not given", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def structure_title(name: str) -> str:
    """The name of a structure in the title of a column: ``csf`` is CSF, ``label-4`` label 4."""
    return name.upper() if name == "csf" else name.replace("_", " ").replace("-", " ")
