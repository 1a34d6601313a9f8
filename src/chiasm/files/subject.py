"""The subject of a file: by BIDS entities, by the names of BraTS and IXI, or by its folder."""

from __future__ import annotations

import re
from pathlib import Path

from chiasm.files import stem
from chiasm.image.modality import split_modality

# Datasets with names of their own for the subject and the time point.
_NAMED = (
    re.compile(r"(?P<subject>BraTS-[A-Za-z]+-\d+)-(?P<session>\d+)-"),  # BraTS 2023 and later
    re.compile(r"(?P<subject>BraTS\d+_\d+)_"),  # BraTS 2021
    re.compile(r"(?P<subject>IXI\d+)-"),
)


def subject_of(path: Path, folder: Path) -> tuple[str, str]:
    """The subject and session of a file below a folder. The session may be empty.

    All images of a subject get the same subject name, whatever their modality or time point, so
    that a split by subject does not separate them.

    - ``sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`` gives ``sub-01`` and ``ses-1``.
    - ``BraTS-GLI-00002-001-t1n.nii.gz`` gives ``BraTS-GLI-00002`` and ``001``.
    - ``BraTS2021_00002_t1.nii.gz`` gives ``BraTS2021_00002``.
    - ``IXI002-Guys-0828-T1.nii.gz`` gives ``IXI002``.
    - For other names the subject is the folder and the part of the name before the modality:
      ``ana/T1w.nii.gz`` and ``ana_T1w.nii.gz`` give ``ana``.
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
