"""Write a label map that was made of a DICOM series as a DICOM segmentation (SEG)."""

from __future__ import annotations

import warnings
from copy import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.files.atomic import atomic, check_output
from chiasm.files.dicom.derived import Making, in_slices
from chiasm.image.volume import Label, LabelVolume

# The names of tissues → category and type in SNOMED CT, as (code, meaning).
_TISSUE, _ABNORMAL = ("85756007", "Tissue"), ("49755003", "Morphologically Abnormal Structure")
_FLUID, _ANATOMY = ("91720002", "Body Substance"), ("91723000", "Anatomical Structure")
_CODES = {
    "csf": (_FLUID, ("65216001", "Cerebrospinal Fluid")),
    "grey": (_TISSUE, ("389081007", "Gray Matter")),
    "white": (_TISSUE, ("389080008", "White matter of brain and spinal cord")),
    "lesion": (_ABNORMAL, ("52988006", "Lesion")),
    "brain": (_ANATOMY, ("12738006", "Brain")),
}
# The coding scheme of other names. It is private, as its first two digits say.
_OWN_SCHEME = "99CHIASM"
_NO_DATE = "19000101"
_LONGEST_CODE, _LONGEST_TEXT = 16, 64


def write_segmentation(
    labels: LabelVolume,
    path: Path,
    making: Making,
    *,
    overwrite: bool = False,
    argument: str = "-o",
) -> Path:
    """Write a segmentation with one segment for each label except the background.

    It is of the type BINARY, which viewers read. It has the frames of the scan in which a label
    occurs.

    Parameters
    ----------
    labels : LabelVolume, shape (columns, rows, slices)
        On the grid of the scan as it was read.
    path : Path
        The file.
    making : Making
    overwrite : bool
        Whether an existing file is replaced.
    argument : str
        The argument that named the path; an error begins with it.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    CaseError
        The file exists or cannot be written, no label occurs, or the headers of the scan lack what
        DICOM demands.
    """
    check_output(path, overwrite, argument=argument)
    planes = in_slices(making.series, labels.array, labels=True)
    described = [one for one in labels.labels if one.value != 0]
    numbers = np.zeros(planes.shape, np.uint16)
    for number, one in enumerate(described, start=1):
        numbers[planes == one.value] = number
    if not numbers.any():
        problem, legal = "would hold no label", "a scan in which the segmenter finds something"
        raise CaseError(explain(argument, path, problem, legal))
    made = _segmentation(numbers, described, making)
    with atomic(path, argument=argument) as draft:
        made.save_as(draft, enforce_file_format=True)
    return path


def _segmentation(numbers: np.ndarray, described: list[Label], making: Making) -> Any:
    import highdicom as hd

    headers = making.headers
    where: dict[str, Any] = {}
    sources = headers
    if len({id(one) for one in headers}) < len(headers):  # frames of one file
        sources, where = [_with_shared_planes(headers[0])], _planes(making)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom warns about private and empty entries
        made = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=numbers,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(n, one) for n, one in enumerate(described, start=1)],
            series_instance_uid=making.uid("series"),
            series_number=making.series_number,
            sop_instance_uid=making.uid("segmentation"),
            instance_number=1,
            manufacturer="Chiasm",
            manufacturer_model_name="Chiasm",
            software_versions=version("chiasm"),
            device_serial_number="none",
            content_description=making.words,
            content_label="SEGMENTATION",
            **where,
        )
    made.SeriesDescription = making.description
    made.DerivationDescription = making.sentence
    made.ImageComments = f"{making.mark}. {making.sentence}"
    making.dated(made, headers[0])
    # A segmentation must have a date, also if its study has none.
    for name, value in (("ContentDate", _NO_DATE), ("ContentTime", "000000")):
        if not made.get(name):
            setattr(made, name, value)
    for one in made.get("ContributingEquipmentSequence", ()):  # highdicom adds itself and the time
        if "ContributionDateTime" in one:
            del one.ContributionDateTime
    _name_dimensions(made, making.uid("dimensions"))
    return made


def _with_shared_planes(header: Any) -> Any:
    """A multi-frame header whose shared groups hold what highdicom expects there.

    Some scanners store the size of the pixels and the orientation once for each frame.
    """
    header = copy(header)
    shared = copy(header.SharedFunctionalGroupsSequence[0])
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if name not in shared:
            setattr(shared, name, header.PerFrameFunctionalGroupsSequence[0].get(name))
    header.SharedFunctionalGroupsSequence = [shared]
    return header


def _planes(making: Making) -> dict[str, Any]:
    """Where the planes lie, which the header of a multi-frame file does not tell in our order."""
    import highdicom as hd

    series = making.series
    first = series.frames[0]
    assert first.pixel is not None
    gap = float(np.diff(series.heights).mean()) if len(series.frames) > 1 else first.thickness or 1
    return {
        "pixel_measures": hd.PixelMeasuresSequence(
            pixel_spacing=(first.pixel[1], first.pixel[0]),
            slice_thickness=first.thickness or gap,
            spacing_between_slices=gap,
        ),
        "plane_orientation": hd.PlaneOrientationSequence(
            hd.CoordinateSystemNames.PATIENT, np.concatenate(first.directions).tolist()
        ),
        "plane_positions": [
            hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, one.place.tolist())
            for one in series.frames
        ],
    }


def _described(number: int, label: Label) -> Any:
    import highdicom as hd

    name = label.name.lower()
    if name in _CODES:
        category, kind = (hd.sr.CodedConcept(code, "SCT", words) for code, words in _CODES[name])
    else:
        category = hd.sr.CodedConcept(*_ANATOMY[:1], "SCT", _ANATOMY[1])
        code = f"label-{label.value}"[:_LONGEST_CODE]
        kind = hd.sr.CodedConcept(code, _OWN_SCHEME, label.name[:_LONGEST_TEXT])
    algorithm = hd.AlgorithmIdentificationSequence(
        name="Chiasm",
        family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        version=version("chiasm"),
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:_LONGEST_TEXT],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*_rgb(label.colour)),
    )


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def _name_dimensions(made: Any, uid: str) -> None:
    """One UID for the order of the frames, in place of the random one of highdicom."""
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
