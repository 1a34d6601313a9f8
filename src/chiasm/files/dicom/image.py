"""Write a volume that was made of a DICOM series as a derived series of MR or CT images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chiasm.files.atomic import atomic_folder, check_folder
from chiasm.files.dicom.derived import Making, in_slices, source_references
from chiasm.image.volume import Volume

_MR, _CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
# Intensities in arbitrary units are multiplied by a power of ten, so that the largest lies between
# this and the largest of the number type. MR images hold whole numbers without a rescaling.
_ENOUGH = 1000
_LARGEST = np.iinfo(np.int16).max
# Percentiles of the voxels above the background between which the window lies.
_WINDOW = (1, 99)


def write_series(
    volume: Volume, folder: Path, making: Making, *, overwrite: bool = False, argument: str = "-o"
) -> Path:
    """Write one file for each slice of the scan, all or none.

    Parameters
    ----------
    volume : Volume, shape (columns, rows, slices)
        On the grid of the scan as it was read. In HU it becomes a series of CT, otherwise of MR.
        MR images hold whole numbers: intensities are rounded, after they were multiplied by a power
        of ten if they are small or too large. The derivation description then names the factor.
    folder : Path
        The folder of the new series. The files are called ``0001.dcm`` and so on.
    making : Making
    overwrite : bool
        Whether the files of an earlier series are replaced.
    argument : str
        The argument that named the folder; an error begins with it.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CaseError
        The folder exists, or holds other files, or cannot be written; or the headers of the scan
        lack what DICOM demands.
    """
    check_folder(folder, overwrite, ending=".dcm", argument=argument)
    planes = in_slices(making.series, volume.array, labels=False)
    in_hu = volume.units == "HU"
    factor = 1 if in_hu else _factor(planes)
    stored = np.clip(np.round(planes * factor), -_LARGEST - 1, _LARGEST).astype(np.int16)
    window = _window(stored)
    headers = making.headers
    with atomic_folder(folder, argument=argument) as draft:
        for index in range(len(stored)):
            made = _slice(making, headers, index, stored[index], window, in_hu)
            if factor != 1:
                said = f" The intensities were multiplied by {factor:g}."
                made.DerivationDescription += said
            made.save_as(draft / f"{index + 1:04d}.dcm", enforce_file_format=True)
    return folder


def _factor(planes: np.ndarray) -> float:
    """The power of ten that makes the intensities fit whole numbers of 16 bits."""
    largest, power = float(np.abs(planes).max()), 0
    while 0 < largest * 10.0**power < _ENOUGH:
        power += 1
    while largest * 10.0**power > _LARGEST:
        power -= 1
    return 10.0**power


def _window(stored: np.ndarray) -> tuple[float, float]:
    """Centre and width of the window."""
    inside = stored[stored > stored.min()]
    low, high = np.percentile(inside if inside.size else stored, _WINDOW)
    return round(float(low + high) / 2, 1), round(max(float(high - low), 1.0), 1)


def _slice(
    making: Making,
    headers: Any,
    index: int,
    plane: np.ndarray,
    window: tuple[float, float],
    in_hu: bool,
) -> Any:
    """One image: (rows, columns) of whole numbers."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    frame, header = making.series.frames[index], headers[index]
    made = making.begin(header)
    made.SOPClassUID = _CT if in_hu else _MR
    made.SOPInstanceUID = making.uid("image", index)
    made.Modality = "CT" if in_hu else "MR"
    made.InstanceNumber = index + 1
    made.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if in_hu else "OTHER"]
    made.AcquisitionNumber = ""
    made.LossyImageCompression = header.get("LossyImageCompression") or "00"
    making.dated(made, header)
    # Modules of the scanner, of which a computed image has no values.
    if in_hu:
        made.KVP = ""
        made.RescaleIntercept, made.RescaleSlope, made.RescaleType = 0, 1, "HU"
    else:
        made.ScanningSequence, made.SequenceVariant = "RM", "NONE"
        for name in ("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength"):
            setattr(made, name, "")
        made.RepetitionTime = ""
    made.ImagePositionPatient = [_short(x) for x in frame.place]
    made.ImageOrientationPatient = [_short(x) for x in np.concatenate(frame.directions)]
    assert frame.pixel is not None
    made.PixelSpacing = [_short(frame.pixel[1]), _short(frame.pixel[0])]
    made.SliceThickness = "" if frame.thickness is None else _short(frame.thickness)
    if making.series.even and len(making.series.frames) > 1:
        made.SpacingBetweenSlices = _short(float(np.diff(making.series.heights).mean()))
    made.SourceImageSequence = source_references(headers, making.series, index)
    made.Rows, made.Columns = plane.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 1
    made.WindowCenter, made.WindowWidth = (_short(x) for x in window)
    made.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def _short(number: float) -> str:
    """A decimal string of DICOM, which has at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(number))
