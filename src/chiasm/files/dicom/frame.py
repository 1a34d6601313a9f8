"""The header of one image of a DICOM file; a multi-frame file holds several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chiasm.files.dicom.part import Part

# Storage classes whose images have a position in the patient: MR and CT, classic and enhanced.
CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted enhanced MR",
}
# Tags outside the functional groups that are read from every header.
TAGS = (
    *("SOPClassUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
    *("ProtocolName", "ImageType", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("EchoTime", "RepetitionTime", "InversionTime", "ScanningSequence", "EchoPulseSequence"),
    *("ContrastBolusAgent", "TemporalPositionIdentifier", "AcquisitionNumber"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PatientID", "ImageComments"),
)


@dataclass(frozen=True)
class Frame:
    """One image and what its header says.

    Attributes
    ----------
    part : Part
        The file that holds it.
    number : int
        Its place in the file, from 0.
    header : pydicom Dataset
        The header of the file, without pixels.
    position : float array, shape (3,), or None
        The centre of the first voxel in mm, in the patient system of DICOM (LPS).
    rows_along, columns_along : float array, shape (3,), or None
        The directions in which the column index and the row index grow. Both have length 1.
    pixel : tuple of two floats, or None
        Distance of the columns and of the rows, in mm.
    thickness : float or None
        In mm.
    echo_time, repetition_time, inversion_time : float or None
        In ms.
    kind : tuple of str
        The type of the image, such as ``("ORIGINAL", "PRIMARY", "M")``.
    """

    part: Part
    number: int
    header: Any
    position: np.ndarray | None
    rows_along: np.ndarray | None
    columns_along: np.ndarray | None
    pixel: tuple[float, float] | None
    thickness: float | None
    echo_time: float | None
    repetition_time: float | None
    inversion_time: float | None
    kind: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Number of columns and of rows."""
        return int(self.header.get("Columns") or 0), int(self.header.get("Rows") or 0)

    @property
    def place(self) -> np.ndarray:
        """The position, in an image that was checked to have one."""
        assert self.position is not None
        return self.position

    @property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Both directions, in an image that was checked to have them."""
        assert self.rows_along is not None
        assert self.columns_along is not None
        return self.rows_along, self.columns_along

    @property
    def normal(self) -> np.ndarray:
        """The direction across the image, in the patient system of DICOM."""
        return np.cross(*self.directions)

    def __str__(self) -> str:
        several = int(self.header.get("NumberOfFrames") or 1) > 1
        return f"frame {self.number + 1} of {self.part}" if several else str(self.part)


def frames_of(part: Part, header: Any) -> Iterator[Frame]:
    """The frames of a file, from its header."""
    several = header.get("PerFrameFunctionalGroupsSequence")
    if not several:
        yield _frame(part, 0, header, (header,))
        return
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for number, own in enumerate(several):
        groups = [*_groups(own), *(one for each in shared for one in _groups(each)), header]
        yield _frame(part, number, header, groups)


def _groups(functional: Any) -> Iterator[Any]:
    """The single items of the functional groups of one frame, or of all frames."""
    for element in functional:
        # Vendors repeat some entries in groups of their own, with other values.
        if not element.tag.is_private and element.VR == "SQ" and len(element.value):
            yield element.value[0]


def _frame(part: Part, number: int, header: Any, groups: Sequence[Any]) -> Frame:
    def first(*names: str) -> Any:
        for group in groups:
            for name in names:
                value = group.get(name)
                if value is not None and str(value) != "":
                    return value
        return None

    position = _numbers(first("ImagePositionPatient"), 3)
    directions = _numbers(first("ImageOrientationPatient"), 6)
    along = None if directions is None else (directions[:3], directions[3:])
    spacing = _numbers(first("PixelSpacing"), 2)
    return Frame(
        part,
        number,
        header,
        position,
        None if along is None else _unit(along[0]),
        None if along is None else _unit(along[1]),
        # DICOM names the distance of the rows first.
        None if spacing is None else (float(spacing[1]), float(spacing[0])),
        _number(first("SliceThickness")),
        _number(first("EffectiveEchoTime", "EchoTime")),
        _number(first("RepetitionTime")),
        _number(first("InversionTimes", "InversionTime")),
        tuple(str(one) for one in first("FrameType", "ImageType") or ()),
    )


def _number(value: Any) -> float | None:
    numbers = _numbers(value, 1)
    return None if numbers is None else float(numbers[0])


def _numbers(value: Any, count: int) -> np.ndarray | None:
    """Finite numbers of a header; None if there are fewer or more, or if one is not a number."""
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _unit(direction: np.ndarray) -> np.ndarray:
    """The direction with length 1; one without length stays as it is, and is refused later."""
    length = float(np.linalg.norm(direction))
    return direction / length if length > 0 else direction
