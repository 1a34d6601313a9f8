"""Recognise label maps, masks and images without structural anatomy by their file names.

The names of BIDS, BraTS, FreeSurfer, FSL, SPM, nnU-Net and of the common challenges are known, in
upper or lower case.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from chiasm.image.modality import modality_from_filename

ASIDE = ("derivatives", "sourcedata", "code", "stimuli")
"""Folders of a BIDS dataset that do not hold the scans of the dataset itself."""

# BIDS folders ("datatypes") without structural images.
_OTHER_FOLDERS = {
    "func", "fmap", "dwi", "perf", "pet", "meg", "eeg", "ieeg", "emg", "beh", "micr", "motion",
    "nirs", "mrs",
}  # fmt: skip
# BIDS suffixes of functional, diffusion, perfusion and field-map images.
_OTHER_SUFFIXES = {
    "bold", "cbv", "sbref", "boldref", "boldmap", "phase", "norf",
    "dwi", "dwiref", "adc", "fa", "colfa", "trace", "expadc",
    "asl", "m0scan", "cbf",
    "phasediff", "phase1", "phase2", "magnitude", "magnitude1", "magnitude2", "fieldmap", "epi",
    "tb1dam", "tb1epi", "tb1afi", "tb1tfl", "tb1rfm", "tb1srge", "tb1map", "rb1cor", "rb1map",
    "pet", "meg", "eeg", "ieeg", "nirs", "motion", "mrsi", "mrsref", "svs", "unloc", "photo",
}  # fmt: skip
# Phase and imaginary parts of structural images (the BIDS entity `part`).
_OTHER_PARTS = ("part-phase", "part-imag")

_LABEL_FOLDERS = {
    "labels", "labelstr", "labelsts", "labelsval", "masks", "segmentations", "parcellations",
}  # fmt: skip
# Endings of the names of label maps, masks and probability maps, with an optional number.
_LABEL_END = re.compile(
    r"(?:(?:seg|mask|segmentation|parcellation|labels?|labelmap|lesions?)"
    r"|(?:^|[^a-z0-9])(?:rois?|msk|parc|gt|ground-?truth|consensus|wmh|wmparc|ribbon|aseg|filled"
    r"|pve|segtri))[-_. ]?\d*$"
)
# Words between separators that mark such a map if the name does not end with a modality.
_LABEL_WORD = re.compile(
    r"(?:^|[^a-z0-9+])(?:dseg|probseg|seg|mask|brainmask|pve|segtri)(?:[^a-z0-9]|$)"
)
# FreeSurfer's label volumes, with or without the hemisphere.
_FREESURFER = re.compile(
    r"^(?:[lr]h\.)?(?:aseg|aparc|wmparc|ribbon|brainmask|hippoamyglabels|thalamicnuclei"
    r"|brainstemsslabels|wm\.(?:seg|asegedit)|filled$)"
)
# Tissue maps that are named by their tissue only.
_TISSUE = re.compile(r"^(?:csf|gm|wm|gr[ae]y|white)(?:[-_. ]?matter)?$")
_SPM_CLASS = re.compile(r"^c[1-6](?=.)")

# A brain mask. The group `of` is the name of the scan that it belongs to.
_BRAIN_MASK = re.compile(
    r"^(?P<of>.*?)[-_. ]?(?:(?:desc|label)-brain_|brain[-_. ]?|bet[-_. ]?)?mask$", re.IGNORECASE
)
# Words in `desc` that show that a mask is not one of the brain.
_NO_BRAIN = re.compile(r"lesion|tumou?r|wmh|deface|roi|ribbon|vessel|stroke|infarct")


def is_label_map(stem: str, siblings: Collection[str] = ()) -> bool:
    """Whether the name of a file is that of a label map, a mask or a probability map.

    Parameters
    ----------
    stem : str
        The file's name without its ending (`chiasm.files.stem`).
    siblings : collection of str
        The stems of the files in the same folder. SPM's ``c1T1`` is recognised by ``T1`` beside it.

    >>> [is_label_map(one) for one in ("BraTS2021_00002_seg", "aparc+aseg", "sub-01_T1w")]
    [True, True, False]
    """
    name = stem.lower()
    if _LABEL_END.search(name):
        return True
    if (found := _SPM_CLASS.match(name)) and stem[found.end() :] in siblings:
        return True
    if modality_from_filename(stem) is not None:
        return False
    return any(rule.search(name) for rule in (_LABEL_WORD, _FREESURFER, _TISSUE))


def is_label_folder(name: str) -> bool:
    """Whether a folder has the name of a folder of label maps, such as nnU-Net's ``labelsTr``."""
    return name.lower() in _LABEL_FOLDERS


def is_other_folder(name: str) -> bool:
    """Whether a folder has the BIDS name for functional, diffusion, field-map or similar data."""
    return name.lower() in _OTHER_FOLDERS


def other_suffix(stem: str) -> str | None:
    """The BIDS suffix of a functional, diffusion, perfusion or field-map image, otherwise None.

    For the phase of a structural image (``sub-01_part-phase_T2starw``) it is ``part-phase``.
    """
    *entities, suffix = stem.split("_")
    if suffix.lower() in _OTHER_SUFFIXES:
        return suffix
    return next((part for part in _OTHER_PARTS if part in entities), None)


def suffix_of(stem: str) -> str:
    """The BIDS suffix, which is the last part of the name, in lower case.

    >>> suffix_of("sub-01_desc-brain_mask")
    'mask'
    """
    return stem.rsplit("_", 1)[-1].lower()


def is_brain_mask(stem: str) -> bool:
    """Whether a file with the BIDS name of a mask can be a brain mask.

    ``sub-01_label-lesion_mask`` and ``sub-01_desc-tumor_mask`` are not.
    """
    entities = dict(part.lower().split("-", 1) for part in stem.split("_") if "-" in part)
    return entities.get("label", "brain") in ("brain", "head") and not _NO_BRAIN.search(
        entities.get("desc", "")
    )


def masked_by(stem: str) -> str | None:
    """The name of the scan that a brain mask belongs to, or None if it is no brain mask.

    >>> [masked_by(one) for one in ("sub-01_desc-brain_mask", "T2w_brainmask", "T2w_lesion")]
    ['sub-01', 'T2w', None]
    """
    found = _BRAIN_MASK.match(stem)
    return found["of"] if found else None
