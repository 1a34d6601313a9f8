"""The series of DICOM files, and the geometry of each, which is checked before it is trusted.

No library is safe alone with series that are incomplete or mixed, so orientation, size, position
along the normal, echo and duplicates are checked here. A series with a fault is refused in one line
that names the fault and the files, or repaired where that is safe, with a sentence that says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.files.dicom.frame import CLASSES, TAGS, Frame, frames_of
from chiasm.files.dicom.part import Part, is_installed, parts_of

# DICOM's patient axes point to the left and the back, those of NIfTI to the right and the front.
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
# Two images lie in one place if their distance along the normal is less than this, in mm.
_SAME_PLACE = 0.01
# Directions are equal if no component differs by more than this.
_SAME_DIRECTION = 1e-3
# Largest difference of a distance of slices from their mean distance: a share of it, plus mm.
_UNEVEN, _ROUNDING = 0.02, 0.01
# Largest distance of a slice from the line through the first and the last one, in mm.
_OFF_THE_LINE = 0.3
# Below this tilt the gantry counts as upright, in degrees.
_UPRIGHT = 0.1
# Image types of series that are no structural scans.
_NO_SCANS = {
    "a localizer": {"LOCALIZER"},
    "a phase image": {"P", "PHASE MAP", "PHASE"},
    "a projection": {"PROJECTION IMAGE", "MIP", "MAX_IP", "MIN_IP"},
    "a diffusion, perfusion or functional image": {
        *("DIFFUSION", "ADC", "FA", "TRACE", "TRACEW", "EADC", "PERFUSION", "ASL", "CBF", "CBV"),
        *("MTT", "TTP", "FMRI", "BOLD", "T2_STAR_PERFUSION", "VELOCITY"),
    },
}
# Header entries by which images in the same place are told apart, in this order.
_TOLD_APART: tuple[tuple[str, Callable[[Frame], Any]], ...] = (
    ("echo", lambda one: None if one.echo_time is None else round(one.echo_time, 2)),
    ("kind", lambda one: one.kind),
    ("inversion", lambda one: one.inversion_time),
    ("time", lambda one: str(one.header.get("TemporalPositionIdentifier"))),
    ("acquisition", lambda one: str(one.header.get("AcquisitionNumber"))),
)


@dataclass(frozen=True)
class Series:
    """One volume of a DICOM series. A series with several echoes gives several of them.

    Attributes
    ----------
    frames : tuple of Frame
        The slices, in the order in which they lie along the normal.
    part : str
        What tells it from other volumes of the same series, such as ``"echo-2"``; else empty.
    notes : tuple of str
        Whole sentences on what was repaired.
    fault : CaseError or None
        Why it cannot be read.
    gaps : CaseError or None
        Why it can only be read if its slices are interpolated: slices are missing or uneven.
    """

    frames: tuple[Frame, ...]
    part: str = ""
    notes: tuple[str, ...] = ()
    fault: CaseError | None = None
    gaps: CaseError | None = None

    @property
    def header(self) -> Any:
        """The header of the first slice."""
        return self.frames[0].header

    @property
    def uid(self) -> str:
        """The SeriesInstanceUID."""
        return str(self.header.get("SeriesInstanceUID"))

    @property
    def description(self) -> str:
        """The description of the series, or the name of its protocol; it may be empty."""
        words = self.header.get("SeriesDescription") or self.header.get("ProtocolName") or ""
        return " ".join(str(words).split())

    @property
    def name(self) -> str:
        """A name for files: the number, the description and the part, such as ``004_t2-tse``."""
        number = self.header.get("SeriesNumber")
        words = [] if number is None else [f"{int(number):03d}"]
        words += [re.sub(r"[^A-Za-z0-9]+", "-", self.description).strip("-"), self.part]
        return "_".join(filter(None, words)) or self.uid

    @property
    def path(self) -> Path:
        """The archive or file that holds the series, or the folder that holds its files."""
        paths = dict.fromkeys(one.part.path for one in self.frames)
        if len(paths) == 1:
            return next(iter(paths))
        return Path(os.path.commonpath([one.parent for one in paths]))

    @property
    def comments(self) -> str:
        """The comments of the first image, which say so if Chiasm made it."""
        return str(self.header.get("ImageComments") or "")

    @property
    def not_a_scan(self) -> str | None:
        """What kind of image the series holds, if it is not a structural scan.

        The type of the images tells it: localizers, phase images, projections, and images of
        diffusion, perfusion or function.
        """
        types = {*self.frames[0].kind, *map(str, self.header.get("ImageType") or ())}
        types = {one.upper() for one in types}
        return next((words for words, names in _NO_SCANS.items() if types & names), None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of columns, of rows and of slices."""
        return (*self.frames[0].size, len(self.frames))

    @property
    def spacing(self) -> np.ndarray:
        """Size of the voxels in mm: (3,)."""
        lengths: np.ndarray = np.linalg.norm(self.affine[:3, :3], axis=0)
        return lengths

    @cached_property
    def heights(self) -> np.ndarray:
        """The position of each slice along the normal, in mm, rising: (slices,)."""
        normal = self.frames[0].normal
        return np.array([float(one.place @ normal) for one in self.frames])

    @property
    def even(self) -> bool:
        """Whether all neighbouring slices have the same distance."""
        gaps = np.diff(self.heights)
        return not len(gaps) or bool(
            np.abs(gaps - gaps.mean()).max() <= _UNEVEN * gaps.mean() + _ROUNDING
        )

    @property
    def across(self) -> np.ndarray:
        """The way from one slice to the next for each mm along the normal, in LPS: (3,).

        It is the normal itself, unless the gantry was tilted.
        """
        first, last = self.frames[0], self.frames[-1]
        if len(self.frames) == 1:
            return first.normal
        way: np.ndarray = (last.place - first.place) / (self.heights[-1] - self.heights[0])
        return way

    @property
    def tilt(self) -> float:
        """The angle between the way across the slices and their normal, in degrees."""
        way = self.across
        cosine = float(way @ self.frames[0].normal) / float(np.linalg.norm(way))
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    @cached_property
    def affine(self) -> np.ndarray:
        """Voxel index → millimetres, RAS+: float64, (4, 4). With uneven gaps, at their mean."""
        first = self.frames[0]
        assert first.pixel is not None
        gap = first.thickness or 1.0
        if len(self.frames) > 1:
            gap = float(np.diff(self.heights).mean())
        affine = np.eye(4)
        rows, columns = first.directions
        sides = (rows * first.pixel[0], columns * first.pixel[1], self.across * gap, first.place)
        affine[:3] = _LPS_TO_RAS[:, None] * np.stack(sides, axis=1)
        return affine


@dataclass(frozen=True)
class FoundSeries:
    """The series of a folder, an archive or a file.

    Attributes
    ----------
    series : tuple of Series
        Sorted by their number; those with a fault are among them.
    left_out : mapping of str to tuple of Part
        What holds no image of MR or CT, by its kind in words.
    errors : tuple of CaseError
        Files that cannot be read.
    """

    series: tuple[Series, ...]
    left_out: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    errors: tuple[CaseError, ...] = ()


def find_series(path: Path) -> FoundSeries:
    """Find the series of a folder with all folders below it, of a zip archive, or of one file.

    Headers are read, and pixels only where two images lie in one place.

    Raises
    ------
    CaseError
        The archive cannot be read, or pydicom is not installed.
    """
    return series_of(parts_of(path))


def series_of(parts: Iterable[Part]) -> FoundSeries:
    """The series of these files, as in `find_series`."""
    found: dict[str, list[Frame]] = defaultdict(list)
    left_out: dict[str, list[Part]] = defaultdict(list)
    errors: list[CaseError] = []
    for part in parts:
        try:
            header = part.header(TAGS)
            kind = str(header.get("SOPClassUID", ""))
            if not kind:
                problem, legal = "has no SOPClassUID", "an undamaged DICOM file"
                raise CaseError(explain("-i", part, problem, legal))
            if kind not in CLASSES:
                left_out[_kind_in_words(header)].append(part)
                continue
            found[str(header.get("SeriesInstanceUID", ""))].extend(frames_of(part, header))
        except CaseError as error:
            errors.append(error)
            if not is_installed():
                break  # every other file would have the same error
    series = [one for frames in found.values() for one in _volumes(frames)]
    series.sort(key=lambda one: (one.header.get("SeriesNumber") or 0, one.uid, one.part))
    left = {kind: tuple(parts) for kind, parts in left_out.items()}
    return FoundSeries(tuple(series), left, tuple(errors))


def _kind_in_words(header: Any) -> str:
    return str(getattr(header.SOPClassUID, "name", "unknown")).removesuffix(" Storage")


def _volumes(frames: Sequence[Frame]) -> list[Series]:
    """The volumes of one series; a fault makes one volume of all of it."""
    try:
        _check_images(frames)
        kept, notes = _without_copies(frames)
        parts = _told_apart(kept, [])
    except CaseError as fault:
        return [Series(tuple(frames), fault=fault)]
    made = []
    for words, own in parts:
        normal = own[0].normal
        ordered = sorted(own, key=lambda one: float(one.place @ normal))
        made.append(_checked(Series(tuple(ordered), "_".join(words), tuple(notes))))
    if len(made) > 1:
        said = f"The series holds {len(made)} volumes, which were taken apart."
        made = [replace(one, notes=(*one.notes, said)) for one in made]
    return made


def _refuse(frames: Sequence[Frame], problem: str, legal: str) -> CaseError:
    """The error of a series; it names up to two of these images."""
    named = " and ".join(dict.fromkeys(str(one) for one in frames[:2]))
    return CaseError(explain("-i", named, problem, legal))


def _check_images(frames: Sequence[Frame]) -> None:
    """Refuse images that are not slices of one block."""
    for one in frames:
        head = one.header
        if min(one.size) < 1:
            raise _refuse([one], "holds no pixels", "an image")
        if int(head.get("SamplesPerPixel") or 1) != 1:
            raise _refuse([one], "is a colour image", "a grey image")
        if "MOSAIC" in one.kind or "MOSAIC" in tuple(head.get("ImageType") or ()):
            problem = "is a mosaic of several slices in one image"
            raise _refuse([one], problem, "one slice in each image (dcm2niix reads mosaics)")
        if one.position is None or one.rows_along is None or one.columns_along is None:
            problem = "has no position and orientation in the patient"
            raise _refuse([one], problem, "ImagePositionPatient and ImageOrientationPatient")
        lengths = np.linalg.norm([one.rows_along, one.columns_along], axis=1)
        if abs(float(one.rows_along @ one.columns_along)) > _SAME_DIRECTION or min(lengths) < 0.5:
            problem = "has rows and columns that are not at right angles"
            raise _refuse([one], problem, "an ImageOrientationPatient of two perpendicular vectors")
        if one.pixel is None or min(one.pixel) <= 0:
            raise _refuse([one], "has no size of its pixels", "PixelSpacing in mm")
    first = frames[0]
    for one in frames[1:]:
        turned = float(np.abs(np.subtract(one.directions, first.directions)).max())
        if turned > _SAME_DIRECTION:
            problem = "have different orientations"
            raise _refuse([first, one], problem, "slices of one orientation in each series")
        if one.size != first.size:
            problem = f"have different sizes ({_times(first.size)} and {_times(one.size)})"
            raise _refuse([first, one], problem, "slices of one size in each series")
        assert first.pixel is not None
        assert one.pixel is not None
        if not np.allclose(one.pixel, first.pixel, rtol=1e-3):
            problem = f"have pixels of different sizes ({_times(first.pixel)}, {_times(one.pixel)})"
            raise _refuse([first, one], problem, "pixels of one size in each series")


def _times(numbers: Sequence[float]) -> str:
    return "×".join(f"{n:.4g}" for n in numbers)


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The images of each place along the normal, in its direction."""
    normal = frames[0].normal
    ordered = sorted(frames, key=lambda one: float(one.place @ normal))
    places: list[list[Frame]] = []
    before = -np.inf
    for one in ordered:
        height = float(one.place @ normal)
        if height - before < _SAME_PLACE:
            places[-1].append(one)
        else:
            places.append([one])
        before = height
    return places


def _digest(frame: Frame) -> str:
    """A hash of the pixels of a frame; those of a file that cannot be decoded, as stored."""
    data = frame.part.dataset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = data.pixel_array.reshape(-1, *frame.size)[frame.number].tobytes()
    except Exception:  # reading the series reports the error
        pixels = bytes(data.get("PixelData") or b"")
    return hashlib.sha256(pixels).hexdigest()


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Drop images that are stored twice, and say so."""
    kept: list[Frame] = []
    dropped: list[Frame] = []
    for place in _places(frames):
        alike: dict[Any, list[Frame]] = defaultdict(list)
        for one in place:
            alike[tuple(tell(one) for _, tell in _TOLD_APART)].append(one)
        for group in alike.values():
            seen = set()
            for one in group:
                content = _digest(one) if len(group) > 1 else ""
                (dropped if content in seen else kept).append(one)
                seen.add(content)
    if not dropped:
        return kept, []
    many = len(dropped) > 1
    what = f"{len(dropped)} files are copies of others" if many else "One file is a copy of another"
    return kept, [f"{what} and {'were' if many else 'was'} left out (such as {dropped[0]})."]


def _told_apart(
    frames: Sequence[Frame], words: list[str]
) -> list[tuple[list[str], Sequence[Frame]]]:
    """Divide images until no two of a group lie in one place; each group with words for it."""
    crowded = [place for place in _places(frames) if len(place) > 1]
    if not crowded:
        return [(words, frames)]
    for name, tell in _TOLD_APART:
        groups: dict[Any, list[Frame]] = defaultdict(list)
        for one in frames:
            groups[tell(one)].append(one)
        if len(groups) == 1:
            continue
        found = []
        for number, key in enumerate(sorted(groups, key=_sortable), start=1):
            found += _told_apart(groups[key], [*words, f"{name}-{number}"])
        return found
    problem = "lie in one place and differ, and nothing in their headers tells them apart"
    raise _refuse(crowded[0], problem, "one image in each place of a series")


def _sortable(key: Any) -> tuple[bool, Any]:
    return key is None, key if isinstance(key, float | int) else str(key)


def _checked(series: Series) -> Series:
    """The series, with a fault if its slices are no even block, and notes on what is unusual."""
    notes = list(series.notes)
    if len(series.frames) == 1:
        if series.frames[0].thickness is None:
            notes.append("The header does not tell the thickness of the slice. 1 mm is assumed.")
        return replace(series, notes=tuple(notes))
    first = series.frames[0]
    line = first.place + np.outer(series.heights - series.heights[0], series.across)
    away = np.stack([one.place for one in series.frames]) - line
    worst = int(np.linalg.norm(away, axis=1).argmax())
    if np.linalg.norm(away[worst]) > _OFF_THE_LINE:
        problem = f"is shifted by {np.linalg.norm(away[worst]):.1f} mm against the other slices"
        fault = _refuse([series.frames[worst]], problem, "slices along one line")
        return replace(series, fault=fault)
    if series.tilt > _UPRIGHT:
        notes.append(
            f"The slices are tilted by {series.tilt:.1f} degrees (gantry tilt). The affine is "
            "sheared accordingly."
        )
    series = replace(series, notes=tuple(notes))
    if series.even:
        return series
    gaps = np.diff(series.heights)
    legal = "a complete series, or --interpolate, which interpolates between the slices"
    times = gaps / gaps.min()
    where = int(gaps.argmax())
    if np.abs(times - np.round(times)).max() < 0.1:
        missing = int(np.round(times).sum()) - len(gaps)
        problem = f"are neighbours, and {missing} slice{'s are' if missing > 1 else ' is'} missing"
    else:
        problem = (
            f"belong to slices with uneven distances ({gaps.min():.2f} to {gaps.max():.2f} mm)"
        )
    return replace(series, gaps=_refuse(series.frames[where : where + 2], problem, legal))
