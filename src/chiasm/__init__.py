"""Chiasm: an unseen scan in, the modality your segmenter knows out, segmented.

>>> import chiasm
>>> t1 = chiasm.translate("sub-01_PDw.nii.gz")       # a Volume on the input's grid
>>> tissue = chiasm.segment(t1)                      # a LabelVolume
>>> chiasm.evaluate(tissue, "sub-01_dseg.nii.gz", labels=True)

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chiasm.api import run, segment, translate
    from chiasm.errors import CaseError, ChiasmError, UsageError
    from chiasm.evaluation.compare import compare
    from chiasm.evaluation.evaluate import evaluate
    from chiasm.files import read, read_labels, write
    from chiasm.lmi import local_mutual_information
    from chiasm.volume import Label, LabelVolume, Volume

__version__ = version("chiasm")

_HOMES = {
    "translate": "chiasm.api",
    "segment": "chiasm.api",
    "run": "chiasm.api",
    "compare": "chiasm.evaluation.compare",
    "evaluate": "chiasm.evaluation.evaluate",
    "read": "chiasm.files",
    "read_labels": "chiasm.files",
    "write": "chiasm.files",
    "local_mutual_information": "chiasm.lmi",
    "Volume": "chiasm.volume",
    "LabelVolume": "chiasm.volume",
    "Label": "chiasm.volume",
    "ChiasmError": "chiasm.errors",
    "CaseError": "chiasm.errors",
    "UsageError": "chiasm.errors",
}

__all__ = [
    "CaseError",
    "ChiasmError",
    "Label",
    "LabelVolume",
    "UsageError",
    "Volume",
    "compare",
    "evaluate",
    "local_mutual_information",
    "read",
    "read_labels",
    "run",
    "segment",
    "translate",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'chiasm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
