"""Headers without what identifies a person, by dicom-anonymizer's rules of the DICOM standard."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from chiasm.errors import UsageError, explain

_PROFILE = "basic application level confidentiality profile, 2024b"
_LETTERS = 12  # of the name that stands for a person


def check_installed() -> None:
    """Raise `UsageError` if dicom-anonymizer is not installed."""
    if find_spec("dicomanonymizer") is None:
        problem = "needs dicom-anonymizer, which is not installed"
        raise UsageError(explain("--anonymize", "", problem, "pip install 'chiasm[dicom]'"))


def short_hash(text: str, letters: int = _LETTERS) -> str:
    """The first letters of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:letters]


def anonymise(header: Any) -> Any:
    """Remove what identifies a person from a header, in place, and return it.

    The rules are those of the basic profile of the DICOM standard (PS3.15, annex E). UIDs are
    replaced by hashes of themselves, so that the same scan always gives the same. The name and the
    ID of the patient are a hash of the study's UID, so that two studies of one person get two
    names. Pixels are not changed: a face or burned-in text stays.

    Parameters
    ----------
    header : pydicom Dataset
        The header of an image, without its pixels.
    """
    from dicomanonymizer import anonymize_dataset

    person = f"ANON-{short_hash(str(header.get('StudyInstanceUID', '')))}"
    anonymize_dataset(header, _hashed_uids(), base_rules_gen=_rules)
    for name in ("PatientName", "PatientID"):
        setattr(header, name, person)
    for element in header:
        # dicom-anonymizer writes dates of the year 1, which are not legal.
        if element.VR in ("DA", "TM", "DT"):
            element.value = ""
    header.PatientIdentityRemoved = "YES"
    # The two parts of a text with several values.
    header.DeidentificationMethod = [
        f"dicom-anonymizer {version('dicom-anonymizer')}",
        _PROFILE,
    ]
    return header


def _rules() -> dict[Any, Any]:
    from dicomanonymizer.simpledicomanonymizer import initialize_actions_2024b

    rules: dict[Any, Any] = initialize_actions_2024b()
    return rules


@cache
def _hashed_uids() -> dict[Any, Any]:
    """Rules for the UIDs, in place of dicom-anonymizer's, which draws random ones."""
    from dicomanonymizer import simpledicomanonymizer as library

    replaced = (library.replace_UID, library.delete_or_empty_or_replace_UID)
    return {tag: _hash_uid for tag, rule in _rules().items() if rule in replaced}


def _hash_uid(dataset: Any, tag: Any) -> None:
    """Replace one UID by a hash of it; a sequence of references is removed."""
    from pydicom.uid import generate_uid

    element = dataset.get(tag)
    if element is None:
        return
    if element.VR != "UI" or element.VM != 1:
        del dataset[element.tag]
        return
    element.value = generate_uid(entropy_srcs=["chiasm", str(element.value)])
