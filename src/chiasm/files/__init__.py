"""Read and write scans (`Volume`) and label maps (`LabelVolume`).

Each format is one module or object, which is chosen by the ending of the file's name. To add a
format, write one with the names of `Format` and register it in `chiasm.registry.FORMATS`; code
outside the package can do so too. This module does what all formats share: it checks that the file
exists and the scan is not empty, reads and writes the table of a label map, and writes files
completely or not at all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from PIL.PngImagePlugin import PngInfo

from chiasm.errors import CaseError, UsageError, explain
from chiasm.files.absent import absent_content
from chiasm.files.atomic import atomic, check_folder, check_output, remove_drafts, write_text
from chiasm.files.format import Format
from chiasm.files.label_table import nameless, read_table, table_text
from chiasm.image.modality import modality_from_filename, modality_name
from chiasm.image.volume import LabelVolume, Volume
from chiasm.registry import FORMATS

__all__ = [
    "Format",
    "Mark",
    "atomic",
    "check_folder",
    "check_intensities",
    "check_output",
    "check_spacing",
    "description",
    "endings",
    "is_written",
    "made_by_chiasm",
    "read",
    "read_labels",
    "read_mask",
    "remove_drafts",
    "said_by_chiasm",
    "stem",
    "words_of",
    "write",
    "write_text",
]


Mark = Literal["synthetic", "segmentation", "phantom"]
"""The mark in the header of Chiasm's files: ``synthetic`` for a translation and for images made
from one, ``segmentation`` for the segmentation of a real scan, or ``phantom``."""

_MARKS: dict[Mark, str] = {
    "synthetic": "synthetic: chiasm",
    "segmentation": "segmentation: chiasm",
    "phantom": "synthetic phantom: chiasm",
}
# Phantoms are made to be used as scans, so they do not count as outputs.
_OUTPUT_MARKS = (_MARKS["synthetic"], _MARKS["segmentation"])

# The largest intensity that is read. The squares of larger ones do not fit float32.
_LARGEST = 1e15
# Plausible spacings in mm. The finest known are 0.02 mm (histology of BigBrain) and 0.1 mm (MRI of
# a head), the coarsest are single slabs of about 50 mm. A spacing outside these limits means that
# the header names the wrong unit.
_SPACINGS = (0.01, 100.0)


def _formats() -> list[Format]:
    """The formats that are registered now."""
    return [FORMATS.load(name) for name in FORMATS]


def endings() -> tuple[str, ...]:
    """The endings of all formats that are registered now, lower case, with the dot."""
    return tuple(dict.fromkeys(suffix for form in _formats() for suffix in form.SUFFIXES))


def is_written(path: str | Path) -> bool:
    """Whether Chiasm writes files with the ending of this name."""
    form = next((one for one in _formats() if str(path).lower().endswith(one.SUFFIXES)), None)
    return form is not None and getattr(form, "WRITES", True)


def _legal_file() -> str:
    return f"a file that ends with {', '.join(endings())}"


def _format_of(path: Path, argument: str) -> Format:
    for form in _formats():
        if path.name.lower().endswith(form.SUFFIXES):
            return form
    raise CaseError(explain(argument, path, "has an unknown ending", _legal_file()))


def stem(path: str | Path) -> str:
    """The file's name without its ending.

    >>> stem("sub-01/anat/sub-01_T1w.nii.gz")
    'sub-01_T1w'
    """
    name = os.path.basename(path)
    matching = [end for end in endings() if name.lower().endswith(end)]
    ending = max(matching, key=len, default="")
    return name[: len(name) - len(ending)]


def description(path: str | Path) -> str:
    """The description in an image's header; empty if there is none or it cannot be read.

    Only the header is read.
    """
    path = Path(path)
    for form in _formats():
        if path.name.lower().endswith(form.SUFFIXES):
            return form.description(path)
    return ""


def words_of(mark: Mark) -> str:
    """The words by which files with this mark begin to describe themselves."""
    return f"{_MARKS[mark]} {version('chiasm')}"


def png_mark() -> PngInfo:
    """The text of a PNG that marks a picture as made by Chiasm, so that it is no scan."""
    info = PngInfo()
    info.add_text("Description", words_of("synthetic"))
    return info


def said_by_chiasm(words: str) -> bool:
    """Whether these are the words by which Chiasm marks a translation or a segmentation."""
    return words.startswith(_OUTPUT_MARKS)


def made_by_chiasm(path: str | Path) -> bool:
    """Whether an image's header says that Chiasm translated or segmented it. Phantoms are not."""
    return said_by_chiasm(description(path))


def check_spacing(
    spacing: float | Sequence[float] | None,
) -> tuple[float, float, float] | None:
    """The spacing along three axes in mm. A spacing that is not positive raises `UsageError`."""
    if spacing is None:
        return None
    numbers = tuple(float(s) for s in np.atleast_1d(np.asarray(spacing, dtype=float)))
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    if len(numbers) != 3 or not all(math.isfinite(s) and s > 0 for s in numbers):
        legal = "one positive number of millimetres, or three"
        raise UsageError(explain("--spacing", spacing, "is not a spacing", legal))
    return numbers  # type: ignore[return-value]


def _read_array(
    path: Path, spacing: float | Sequence[float] | None, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    if path.is_dir():
        raise CaseError(explain(argument, path, "is a folder", _legal_file()))
    if absent := absent_content(path, argument):
        raise absent
    if not path.exists():
        raise CaseError(explain(argument, path, "does not exist", "an existing file"))
    array, affine = _format_of(path, argument).read(path, check_spacing(spacing), argument)
    check_voxel_size(array.shape, affine, argument, path)
    return array, affine


def check_voxel_size(
    shape: Sequence[int], affine: np.ndarray, argument: str, name: str | Path
) -> None:
    """Refuse voxels of an implausible size (`CaseError`), which the wrong unit of space gives."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # An axis of one voxel has no spacing, and a length of 0 is reported as a singular affine.
    counted = lengths[(np.array(shape) > 1) & (lengths > 0)]
    if ((counted < _SPACINGS[0]) | (counted > _SPACINGS[1])).any():
        problem = f"has the spacing {'×'.join(f'{s:.3g}' for s in lengths)} mm"
        legal = f"{_SPACINGS[0]:g} to {_SPACINGS[1]:g} mm (is the header's unit of space right?)"
        raise CaseError(explain(argument, name, problem, legal))


def read_mask(
    path: str | Path,
    *,
    spacing: float | Sequence[float] | None = None,
    argument: str = "--mask",
) -> Volume:
    """Read a mask without changing it: 0 and 1, a label map, or probabilities.

    `chiasm.image.mask.fitted_mask` decides which of its voxels are inside.

    Raises
    ------
    CaseError
        As in `read`, except that a mask may be empty or constant.
    """
    path = Path(path)
    recorded = path.is_file() and _format_of(path, argument).RECORDS_SPACING
    array, affine = _read_array(path, None if recorded else spacing, argument)
    try:
        return Volume(array, affine)
    except CaseError as error:
        raise CaseError(f"{argument} {path}: {error}") from None


def read(
    path: str | Path,
    *,
    modality: str | None = None,
    spacing: float | Sequence[float] | None = None,
    argument: str = "-i",
) -> Volume:
    """Read a scan.

    Parameters
    ----------
    path : str or Path
        NIfTI (.nii, .nii.gz), or a grey PNG or TIFF slice.
    modality : str, optional
        Any name that `chiasm.image.modality.modality_name` knows. By default it is taken from the
        end of the file's name.
    spacing : float or three floats, optional
        In mm, for PNG and TIFF, which record none. Without it 1 mm is assumed, with a warning.
    argument : str
        The argument that named the path; an error begins with it.

    Returns
    -------
    Volume
        With finite intensities that are not constant. Axes of length 1 beyond the third are
        dropped; they are restored if the volume is written with ``like=path``.

    Raises
    ------
    CaseError
        The file is missing, not an image or damaged; it holds several volumes, complex numbers or
        colours; it is empty (all zero) or constant, or holds NaN or infinity; its spacing is not
        from 0.01 to 100 mm, or its affine is singular; or it is valid, but too large for the free
        memory.
    UsageError
        The modality is unknown, or the spacing is not positive.
    """
    path = Path(path)
    name = modality_name(modality) if modality else modality_from_filename(stem(path))
    array, affine = _read_array(path, spacing, argument)
    try:
        with np.errstate(over="ignore"):  # values beyond float32 are refused as infinite
            volume = Volume(array, affine, modality=name)
    except CaseError as error:
        raise CaseError(f"{argument} {path}: {error}") from None
    check_intensities(volume, argument, path)
    return volume


def check_intensities(volume: Volume, argument: str, name: str | Path) -> None:
    """Refuse a scan whose voxels are all the same, or larger than those of any scan.

    Parameters
    ----------
    volume : Volume
    argument, name : str
        The argument and the name of the scan, for the error.

    Raises
    ------
    CaseError
        The scan is empty or constant, or an intensity is too large.
    """
    low, high = volume.array.min(), volume.array.max()
    if (most := max(-low, high)) > _LARGEST:
        problem = f"holds intensities up to {most:.2g}"
        raise CaseError(explain(argument, name, problem, f"at most {_LARGEST:g} (a damaged file?)"))
    if low == high:
        problem = "is empty (all zero)" if low == 0 else f"is constant (all {low:g})"
        raise CaseError(explain(argument, name, problem, "a scan with different intensities"))


def read_labels(path: str | Path, *, argument: str = "-i") -> LabelVolume:
    """Read a label map, with the names and colours in the ``.tsv`` file beside it, if there is one.

    Structures without a name in the table are called ``label-<value>``.

    Raises
    ------
    CaseError
        As in `read`, except that a map may be constant. Its values are not whole numbers of 16
        bits, or the table lacks the column ``index`` or ``name``.
    """
    path = Path(path)
    array, affine = _read_array(path, None, argument)
    limits = np.iinfo(np.int16)
    if not ((array >= limits.min) & (array <= limits.max)).all():
        legal = f"whole numbers from {limits.min} to {limits.max}"
        raise CaseError(explain(argument, path, "holds values that are no labels", legal))
    try:
        labels = LabelVolume(array, affine, labels=())
    except CaseError as error:
        raise CaseError(f"{argument} {path}: {error}") from None
    table = path.with_name(f"{stem(path)}.tsv")
    known = {label.value: label for label in (read_table(table) if table.is_file() else ())}
    for value in np.unique(labels.array):
        known.setdefault(int(value), nameless(int(value)))
    return LabelVolume(labels.array, affine, tuple(known[value] for value in sorted(known)))


def write(
    volume: Volume | LabelVolume,
    path: str | Path,
    *,
    overwrite: bool = False,
    synthetic: bool = False,
    mark: Mark | None = None,
    like: str | Path | None = None,
    argument: str = "-o",
) -> Path:
    """Write a scan as float32, or a label map as integers with its table of names beside it.

    Parameters
    ----------
    volume : Volume or LabelVolume
        A label map ``X_dseg.nii.gz`` gets a table ``X_dseg.tsv`` with the BIDS columns index, name
        and color.
    path : str or Path
        Its ending chooses the format. Missing folders are created.
    overwrite : bool
        Whether existing files are replaced.
    synthetic : bool
        The same as ``mark="synthetic"``, which writes ``synthetic: chiasm <version>``.
    mark : {"synthetic", "segmentation", "phantom"}, optional
        The description in the header. Images that are marked as synthetic or as segmentations are
        never found as scans in a folder.
    like : str or Path, optional
        The input file that the image was made from, on the same grid. Its exact shape (4D with one
        volume, or 2D), affine fields and units, or its bit depth, are repeated.
    argument : str
        The argument that named the path; an error begins with it.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    CaseError
        The file exists, its ending is unknown, the format cannot hold the array, or the disk is
        full. No incomplete file is left.
    """
    path, like = Path(path), None if like is None else Path(like)
    form = _format_of(path, argument)
    check_output(path, overwrite, argument=argument)
    mark = "synthetic" if synthetic else mark
    said = words_of(mark) if mark else ""
    if isinstance(volume, Volume):
        with atomic(path, argument=argument) as draft:
            form.write(draft, volume.array, volume.affine, name=path, like=like, description=said)
        return path
    array = volume.array
    if array.min() >= 0 and array.max() <= np.iinfo(np.uint8).max:
        array = array.astype(np.uint8)
    table = check_output(path.with_name(f"{stem(path)}.tsv"), overwrite, argument=argument)
    with atomic(table, argument=argument) as names, atomic(path, argument=argument) as draft:
        names.write_bytes(table_text(volume.labels).encode())
        form.write(draft, array, volume.affine, name=path, like=like, description=said)
    return path
