"""The voxels of a DICOM series, its modality, and the one series of a folder or an archive."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.files.dicom.frame import Frame
from chiasm.files.dicom.series import Series, find_series
from chiasm.image.modality import modality_from_filename
from chiasm.image.volume import Volume
from chiasm.machine.free_memory import check_fits

# The argument that names a series; an error begins with it.
_ARGUMENT = "-i"
# A slice this share of the distance beyond the last one still counts as the last one.
_ROUNDED = 0.01


def only_series(path: Path) -> Series:
    """The series of a folder, of a zip archive, or of a DICOM file.

    Raises
    ------
    CaseError
        There is no series, or more than one.
    """
    found = find_series(path)
    if found.errors:
        raise found.errors[0]
    scans = [one for one in found.series if one.not_a_scan is None] or list(found.series)
    if not scans:
        legal = "a folder, a zip archive or a file with DICOM images of MR or CT"
        raise CaseError(explain(_ARGUMENT, path, "holds no DICOM series", legal))
    if len(scans) > 1:
        names = ", ".join(one.name for one in scans[:5]) + ", …" * (len(scans) > 5)
        problem = f"holds {len(scans)} DICOM series ({names})"
        legal = "a folder with one series; the commands process all series of a folder"
        raise CaseError(explain(_ARGUMENT, path, problem, legal))
    return scans[0]


def read(series: Series, *, interpolate: bool = False) -> Volume:
    """Read a series.

    Parameters
    ----------
    series : Series
    interpolate : bool
        Whether slices that are uneven or missing are interpolated linearly. The distance of the
        slices is then the median of the distances.

    Returns
    -------
    Volume
        Shape (columns, rows, slices). MR in arbitrary units and CT in HU, after the rescaling that
        the headers tell.

    Raises
    ------
    CaseError
        The series has a fault, its slices are uneven and ``interpolate`` is not given, an image
        has no pixels or cannot be decoded, or it does not fit the free memory.
    """
    if series.fault is not None:
        raise series.fault
    if series.gaps is not None and not interpolate:
        raise series.gaps
    columns, rows, count = series.shape
    check_fits(
        4 * columns * rows * count,
        _ARGUMENT,
        series.name,
        f"as a volume of {columns}×{rows}×{count} voxels",
        "a smaller series, or more memory",
    )
    array = np.empty((columns, rows, count), dtype=np.float32)
    held: tuple[Any, Any] = (None, None)  # a multi-frame file is read once
    for index, one in enumerate(series.frames):
        if held[0] != one.part:
            held = one.part, _decoded(one)
        array[:, :, index] = _rescaled(held[1], one).T
    affine, modality = series.affine, modality_of(series)
    if series.gaps is not None:
        array, affine = resampled(series, array)
    return Volume(array, affine, modality=modality)


def resampled(series: Series, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices at even distances, by linear interpolation, and their affine.

    The distance is the median of the distances of the slices. The first slice keeps its place.
    """
    heights = series.heights - series.heights[0]
    step = float(np.median(np.diff(heights)))
    # Positions are rounded in the headers.
    count = int(np.floor(heights[-1] / step + _ROUNDED)) + 1
    wanted = np.minimum(np.arange(count) * step, heights[-1])
    left = np.clip(np.searchsorted(heights, wanted, side="right") - 1, 0, len(heights) - 2)
    share = ((wanted - heights[left]) / np.diff(heights)[left]).astype(np.float32)
    made = (1 - share) * array[:, :, left] + share * array[:, :, left + 1]
    affine = series.affine.copy()
    affine[:3, 2] *= step / float(np.diff(heights).mean())
    return made, affine


def _decoded(frame: Frame) -> tuple[Any, np.ndarray]:
    """The file of a frame, and the stored values of all its frames: (frames, rows, columns)."""
    data = frame.part.dataset()
    if not any(data.get(name) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise CaseError(explain(_ARGUMENT, frame.part, "holds no pixels", "an image"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = data.pixel_array
    except Exception as error:  # the decoders of pydicom raise errors of many types
        words = " ".join(str(error).split())[:200]
        problem = f"cannot be decoded ({type(error).__name__}: {words})"
        legal = "an undamaged image, in a compression that pylibjpeg knows"
        raise CaseError(explain(_ARGUMENT, frame.part, problem, legal)) from None
    columns, rows = frame.size
    if pixels.shape[-2:] != (rows, columns) or pixels.ndim > 3:
        problem = f"has pixels of shape {pixels.shape}"
        raise CaseError(explain(_ARGUMENT, frame.part, problem, f"({rows}, {columns})"))
    pixels, told = pixels.reshape(-1, rows, columns), int(data.get("NumberOfFrames") or 1)
    if len(pixels) != told:
        problem = f"holds the pixels of {len(pixels)} images, and its header tells of {told}"
        raise CaseError(explain(_ARGUMENT, frame.part, problem, "an undamaged file"))
    return data, pixels


def _rescaled(file: tuple[Any, np.ndarray], frame: Frame) -> np.ndarray:
    """The values of one frame after its rescale slope and intercept: (rows, columns)."""
    data, pixels = file
    if frame.number >= len(pixels):
        problem = f"holds {len(pixels)} images, and its header tells of more"
        raise CaseError(explain(_ARGUMENT, frame.part, problem, "an undamaged file"))
    slope, intercept = 1.0, 0.0
    for group in _transformations(data, frame.number):
        if group.get("RescaleSlope") is not None:
            slope = float(group.RescaleSlope)
            intercept = float(group.get("RescaleIntercept") or 0)
            break
    return pixels[frame.number].astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _transformations(data: Any, number: int) -> list[Any]:
    """Where the rescaling of a frame may stand, the most specific place first."""
    places = []
    per_frame = data.get("PerFrameFunctionalGroupsSequence") or []
    shared = data.get("SharedFunctionalGroupsSequence") or []
    for group in (*per_frame[number : number + 1], *shared):
        places += list(group.get("PixelValueTransformationSequence") or [])
    return [*places, data]


def modality_of(series: Series) -> str | None:
    """The modality of a series, as a BIDS suffix; None if its header does not tell.

    CT is named in the header. The contrast of MR is told by the sequence's times where they are
    there: a long inversion time makes FLAIR, a short repetition time T1, a short echo time PD, and
    a long one T2. Otherwise it is told by the name of the series.
    """
    header = series.header
    if str(header.get("Modality")) == "CT":
        return "CT"
    timed = _by_times(series)
    if timed == "T1w" and str(header.get("ContrastBolusAgent") or "").strip():
        return "T1ce"
    return timed or _by_name(series.description)


def _by_times(series: Series) -> str | None:
    first = series.frames[0]
    repetition, inversion, echo = first.repetition_time, first.inversion_time, first.echo_time
    if repetition is None or echo is None:
        return None
    gradient = "GR" in str(
        series.header.get("ScanningSequence") or series.header.get("EchoPulseSequence") or ""
    )
    if inversion and inversion > 1400 and repetition > 3500:
        return "FLAIR"
    if inversion and 200 < inversion <= 1400 and echo < 30:
        return "T1w"  # a prepared gradient echo, or an inversion recovery
    if gradient:
        short = repetition < 60 and echo < 12
        return "T1w" if short else None  # the flip angle decides, and T2* is like PD or T2
    if repetition < 1000:
        return "T1w" if echo < 40 else None
    if repetition >= 1800:
        return "PDw" if echo < 45 else "T2w"
    return None


def _by_name(description: str) -> str | None:
    """The one modality that the words of a description name."""
    words = description.replace("-", " ").replace("_", " ").replace("+", " ").split()
    known = {name for word in words if (name := modality_from_filename(f"x_{word}"))}
    return known.pop() if len(known) == 1 else None
