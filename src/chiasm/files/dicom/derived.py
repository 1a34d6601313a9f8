"""What every DICOM object that Chiasm makes has in common: patient, study, place, UIDs, texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.files.dicom.anonymous import anonymise
from chiasm.files.dicom.series import Series

# What is repeated from the source: patient, study and frame of reference.
_KEPT = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs"),
    *("PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "PatientPosition", "BodyPartExamined"),
)
# DICOM demands these, and they may be empty.
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
    "PatientPosition",
)
_MAKER = "Chiasm"
# The longest text of the value representations LO and ST.
_LONG, _SHORT_TEXT = 64, 1024


@dataclass(frozen=True)
class Making:
    """How one output of a scan was made.

    Attributes
    ----------
    series : Series
        The scan.
    mark : str
        The words by which Chiasm marks its images, such as ``"synthetic: chiasm 0.1.0"``.
    words : str
        A short name for lists, such as ``"synthetic T1w"``.
    sentence : str
        What was done, as a whole sentence.
    facts : mapping
        Everything that the result depends on. The UIDs are made from it, so that the same scan
        with the same settings gives the same objects.
    place : int
        The place of the output among those of its scan, from 1.
    anonymous : bool
        Whether what identifies the person is left out (`chiasm.files.dicom.anonymous`).
    """

    series: Series
    mark: str
    words: str
    sentence: str
    facts: Mapping[str, Any]
    place: int
    anonymous: bool = False

    def uid(self, *words: Any) -> str:
        """A UID that only depends on the scan, the facts and these words."""
        from pydicom.uid import generate_uid

        known = json.dumps(dict(self.facts), sort_keys=True, default=str)
        sources = [self.series.uid, self.series.part, self.mark, self.words, known, *words]
        sources += ["anonymous"] * self.anonymous
        return str(generate_uid(entropy_srcs=[str(one) for one in sources]))

    @property
    def series_number(self) -> int:
        """The number of the new series: that of the scan, followed by two digits."""
        number = self.series.header.get("SeriesNumber")
        return 100 * int(number or 0) + self.place

    @property
    def description(self) -> str:
        """The description of the new series."""
        words = f"{self.words} ({_MAKER})"
        if self.anonymous:  # a description may name the person
            return words
        before = self.series.description[: _LONG - len(words) - 2].strip()
        return f"{before}, {words}" if before else words

    @cached_property
    def headers(self) -> list[Any]:
        """The complete header of each slice; those of a multi-frame file are one object."""
        held: dict[Any, Any] = {}
        for one in self.series.frames:
            if one.part not in held:
                held[one.part] = self._completed(one.part.header())
        return [held[one.part] for one in self.series.frames]

    def _completed(self, header: Any) -> Any:
        """A header with everything that DICOM demands of an object that refers to it."""
        for name in _EMPTY:
            if name not in header:
                setattr(header, name, "")
        if not header.get("FrameOfReferenceUID"):
            from pydicom.uid import generate_uid

            # One for all that is made of this series.
            same = [self.series.uid, "frame of reference"]
            header.FrameOfReferenceUID = generate_uid(entropy_srcs=same)
        for name in ("StudyInstanceUID", "SOPInstanceUID"):
            if not header.get(name):
                problem, legal = f"has no {name}", "a series with it, or --format nifti"
                raise CaseError(explain("-i", self.series.path, problem, legal))
        return anonymise(header) if self.anonymous else header

    def begin(self, header: Any) -> Any:
        """A new object with patient, study and place of a source, and who made it."""
        from pydicom.dataset import Dataset

        made = Dataset()
        for name in _KEPT:
            if name in header:
                made[name] = header[name]
        if not made.get("BodyPartExamined"):
            made.BodyPartExamined = "BRAIN"
        made.SeriesInstanceUID = self.uid("series")
        made.SeriesNumber = self.series_number
        made.SeriesDescription = self.description
        made.Manufacturer = made.ManufacturerModelName = _MAKER
        made.SoftwareVersions = version("chiasm")
        made.DeviceSerialNumber = "none"
        made.DerivationDescription = self.sentence[:_SHORT_TEXT]
        made.ImageComments = f"{self.mark}. {self.sentence}"
        return made

    def dated(self, made: Any, source: Any) -> None:
        """Dates and times of the source in place of those of now, so that a rerun is the same."""
        for name in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
            setattr(made, name, source.get("StudyDate") or "")
        for name in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
            setattr(made, name, source.get("StudyTime") or "")


def in_slices(series: Series, array: np.ndarray, *, labels: bool) -> np.ndarray:
    """What was made of a series, one plane for each of its slices: (slices, rows, columns).

    Parameters
    ----------
    series : Series
    array : array, shape (columns, rows, planes)
        On the grid of the volume that was read. Its planes are the slices, unless the slices are
        uneven. Then they are interpolated back to the places of the slices.
    labels : bool
        Whether the nearest plane is taken, and nothing is interpolated.
    """
    planes = np.moveaxis(np.asarray(array), 2, 0).transpose(0, 2, 1)
    if series.gaps is None:
        return planes
    heights = series.heights - series.heights[0]
    at = heights / float(np.median(np.diff(heights)))
    at = np.clip(at, 0, len(planes) - 1)
    if labels:
        return planes[np.round(at).astype(int)]
    below = np.minimum(at.astype(int), max(len(planes) - 2, 0))
    above = np.minimum(below + 1, len(planes) - 1)
    share = (at - below).astype(np.float32)[:, None, None]
    return (1 - share) * planes[below] + share * planes[above]


def source_references(headers: Sequence[Any], series: Series, index: int) -> Any:
    """The reference of a slice that was made to the image that it was made from."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    item, header, frame = Dataset(), headers[index], series.frames[index]
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if int(header.get("NumberOfFrames") or 1) > 1:
        item.ReferencedFrameNumber = frame.number + 1
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = Items([purpose])
    return Items([item])
