"""Names of modalities: BIDS suffixes in upper or lower case, and common short names."""

from __future__ import annotations

import re

from chiasm.errors import UsageError, explain

# BIDS anatomical suffixes (https://bids-specification.readthedocs.io, MRI, "Anatomy"), CT, and
# T1 with contrast agent, which BIDS marks by an entity and the BraTS challenges by the file name.
SUFFIXES = (
    "T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio",
    "T1map", "T2map", "T2starmap", "PDmap", "SWI", "CT", "T1ce",
)  # fmt: skip
_ALIASES = {
    "t1": "T1w", "t2": "T2w", "pd": "PDw", "t2star": "T2starw", "t2*": "T2starw", "t2f": "FLAIR",
    "t1n": "T1w", "t1c": "T1ce", "t1gd": "T1ce", "t1post": "T1ce",
} | {suffix.lower(): suffix for suffix in SUFFIXES}  # fmt: skip


def modality_name(name: str, argument: str = "modality") -> str:
    """The BIDS suffix of a name: ``"t1"``, ``"T1W"`` and ``"T1w"`` all give ``"T1w"``.

    Raises
    ------
    UsageError
        The name is neither one of `SUFFIXES` nor a short form of one.
    """
    try:
        return _ALIASES[name.lower()]
    except KeyError:
        raise UsageError(
            explain(argument, name, "is not a known modality", ", ".join(SUFFIXES))
        ) from None


def known_modality(name: str) -> str | None:
    """The BIDS suffix of a name, as in `modality_name`, or None if the name is not known."""
    return _ALIASES.get(name.lower())


def modality_from_filename(name: str) -> str | None:
    """The modality that a file name ends with (``sub-01_T1w.nii.gz``, ``PD.nii``), else None.

    A T1 with contrast agent is ``T1ce``, also when named ``sub-01_ce-gadolinium_T1w.nii.gz``
    as in BIDS.
    """
    stem = re.split(r"\.(?:nii|png|tif|tiff|gz)\b", name, flags=re.IGNORECASE)[0]
    before, after = split_modality(stem)
    suffix = known_modality(after)
    enhanced = suffix == "T1w" and any(part.startswith("ce-") for part in before.split("_"))
    return "T1ce" if enhanced else suffix


def split_modality(stem: str) -> tuple[str, str]:
    """Split a file name without its ending where the modality begins.

    The name is split at the last ``_``: ``sub-01_T1w`` → ``sub-01``, ``T1w``. If it has none, it
    is split at the last hyphen: ``IXI002-Guys-0828-T1`` → ``IXI002-Guys-0828``, ``T1``.
    """
    before, _, after = stem.rpartition("_" if "_" in stem else "-")
    return before, after


def units_of(modality: str | None) -> str:
    """Units of a modality's intensities: ``"HU"`` for CT, else ``"a.u."`` (arbitrary units)."""
    return "HU" if modality == "CT" else "a.u."
