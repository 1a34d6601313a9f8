"""Check whether a scan suits the models. Every finding is a warning in whole sentences.

A file that a user names is always processed. Warnings appear on the terminal and in the report,
because a wrong result may look right.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from chiasm.image.foreground import looks_unstripped
from chiasm.image.volume import Volume

if TYPE_CHECKING:
    from chiasm.methods.base import Translator
    from chiasm.methods.translatability import Translatability
    from chiasm.segmenters import Segmenter

# An image of fewer grey levels is taken for a label map. Label maps of tissues or lesions have
# fewer values, and some published scans have only 60 grey levels.
_FEWEST_LEVELS = 16


def modality_warnings(
    modality: str | None, translator: Translator | None, segmenter: Segmenter | None
) -> list[str]:
    """Warnings about the modality of a scan; none if it is unknown."""
    if modality is None:
        return []
    if translator is not None:
        target = translator.model.config.target
        if modality != target:
            return []
        return [
            f"This scan is {modality} already, which is the target modality of the translation."
        ]
    assert segmenter is not None  # one of the two is always given
    if segmenter.modality in (None, modality):
        return []
    return [
        f"This scan is {modality}, but the segmenter {segmenter.name} knows only "
        f"{segmenter.modality}, so the labels are probably wrong. `chiasm run` translates a scan "
        f"before it segments it; --modality corrects a wrong file name."
    ]


def content_warnings(volume: Volume) -> list[str]:
    """Warnings about the intensities of a scan."""
    if volume.units == "a.u." and _looks_like_labels(volume.array):
        return [
            "This image holds only a few different whole numbers, like a label map. "
            "A scan is needed."
        ]
    return []


def _looks_like_labels(array: np.ndarray) -> bool:
    sample = array.ravel()[:: max(1, array.size // 100_000)]
    if (sample != np.round(sample)).any():
        return False
    return len(np.unique(sample)) < _FEWEST_LEVELS and len(np.unique(array)) < _FEWEST_LEVELS


def skull_warnings(volume: Volume, mask: np.ndarray, *, brain_only: Collection[str]) -> list[str]:
    """A warning if a whole head is given to models of skull-stripped brains, which it names."""
    if not brain_only or not looks_unstripped(volume, mask):
        return []
    names = dict.fromkeys(brain_only)  # in this order, each once
    verb = "was" if len(names) == 1 else "were"
    return [
        f"This scan looks like a whole head, but {' and '.join(names)} {verb} trained on "
        "skull-stripped brains only. Strip the skull first, give a brain mask with --mask, or name "
        "a program that finds the brain with --extract."
    ]


def translatability_of(
    volume: Volume, translator: Translator, mask: np.ndarray
) -> Translatability | None:
    """The translatability of a scan; None if the model does not record its limit."""
    from chiasm.methods.base import NetworkTranslator
    from chiasm.methods.translatability import translatability

    known = translator.model.config.translatable_from is not None
    if not known or not isinstance(translator, NetworkTranslator):
        return None
    return translatability(volume, translator, mask)


def translatability_warnings(found: Translatability | None) -> list[str]:
    """A warning if the translatability is below that of scans which the model translates well."""
    if found is None or found.expected_from is None or found.score >= found.expected_from:
        return []
    return [
        f"The translatability of this scan is {found.score:.2f}. Scans that the model translates "
        f"well have at least {found.expected_from:.2f}. Expect errors and check the result."
    ]
