"""Chiasm translates scans of an unseen modality into the one your segmenter knows, and segments.

>>> import chiasm
>>> t1 = chiasm.translate("sub-01_PDw.nii.gz")       # a Volume on the input's grid
>>> tissue = chiasm.segment(t1)                      # a LabelVolume
>>> chiasm.evaluate(tissue, "sub-01_dseg.nii.gz", labels=True)

Large libraries are imported only when they are used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chiasm.api import run, segment, translate
    from chiasm.comparison.run import compare
    from chiasm.errors import CaseError, ChiasmError, UsageError
    from chiasm.files import read, read_labels, write
    from chiasm.image.volume import Label, LabelVolume, Volume
    from chiasm.lmi import local_mutual_information
    from chiasm.methods.load import load_translator
    from chiasm.pipeline import Pipeline
    from chiasm.scoring.evaluate import evaluate
    from chiasm.segmenters.load import load_segmenter

__version__ = version("chiasm")

_HOMES = {
    "translate": "chiasm.api",
    "segment": "chiasm.api",
    "run": "chiasm.api",
    "compare": "chiasm.comparison.run",
    "evaluate": "chiasm.scoring.evaluate",
    "read": "chiasm.files",
    "read_labels": "chiasm.files",
    "write": "chiasm.files",
    "local_mutual_information": "chiasm.lmi",
    "Pipeline": "chiasm.pipeline",
    "load_segmenter": "chiasm.segmenters.load",
    "load_translator": "chiasm.methods.load",
    "Volume": "chiasm.image.volume",
    "LabelVolume": "chiasm.image.volume",
    "Label": "chiasm.image.volume",
    "ChiasmError": "chiasm.errors",
    "CaseError": "chiasm.errors",
    "UsageError": "chiasm.errors",
}

__all__ = [
    "CaseError",
    "ChiasmError",
    "Label",
    "LabelVolume",
    "Pipeline",
    "UsageError",
    "Volume",
    "compare",
    "evaluate",
    "load_segmenter",
    "load_translator",
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
