"""Whose image a file is: by its BIDS entities, as BraTS and IXI name theirs, else by its place."""

from __future__ import annotations

import re
from pathlib import Path

from chiasm.files import stem
from chiasm.modality import split_modality

# Datasets that name the subject, and perhaps the time point, in a way of their own.
_NAMED = (
    re.compile(r"(?P<subject>BraTS-[A-Za-z]+-\d+)-(?P<session>\d+)-"),  # BraTS 2023 and later
    re.compile(r"(?P<subject>BraTS\d+_\d+)_"),  # BraTS 2021
    re.compile(r"(?P<subject>IXI\d+)-"),
)


def subject_of(path: Path, folder: Path) -> tuple[str, str]:
    """The subject and session that a file below a folder belongs to; the session may be empty.

    All images of a subject have the same name here, whatever their modality or time point, so
    that a split by subject keeps them on one side.

    ``sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`` is of ``sub-01``, ``ses-1``;
    ``BraTS-GLI-00002-001-t1n.nii.gz`` of ``BraTS-GLI-00002``, ``001``;
    ``BraTS2021_00002_t1.nii.gz`` of ``BraTS2021_00002``; ``IXI002-Guys-0828-T1.nii.gz`` of
    ``IXI002``. Of other names, what comes before the modality, below its folders:
    ``ana/T1w.nii.gz`` and ``ana_T1w.nii.gz`` are of ``ana``.
    """
    below = path.relative_to(folder) if path.is_relative_to(folder) and path != folder else path
    subject, session = (
        re.findall(rf"(?:^|[/_])({entity}-[^_./]+)", below.as_posix()) for entity in ("sub", "ses")
    )
    if subject:
        return subject[-1], session[-1] if session else ""
    for pattern in _NAMED:
        if found := pattern.match(path.name):
            return found["subject"], found.groupdict().get("session") or ""
    parts = [*below.parts[:-1], *filter(None, [split_modality(stem(path))[0]])]
    return "/".join(parts) or folder.resolve().name, ""
