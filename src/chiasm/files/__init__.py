"""Files in, `Volume` and `LabelVolume` out, and back.

One module per format; a format is chosen by the ending of the file's name. To add one, write a
module with the three names of `Format` and put it into ``_FORMATS``. What is common to all (does
the file exist, is the scan empty, the name and colour table of a label map, writing whole files
only) is done here, once.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from chiasm.errors import CaseError, UsageError, explain
from chiasm.files import image, nifti
from chiasm.files.atomic import atomic, check_output, write_text
from chiasm.modality import modality_from_filename, modality_name
from chiasm.volume import Label, LabelVolume, Volume

__all__ = [
    "SUFFIXES",
    "Format",
    "atomic",
    "check_output",
    "check_spacing",
    "find_images",
    "find_maps",
    "read",
    "read_labels",
    "stem",
    "write",
    "write_text",
]


class Format(Protocol):
    """The contract between this package and a format's module."""

    SUFFIXES: tuple[str, ...]
    """Endings of the names of such files, lower case, with the dot."""

    def read(
        self, path: Path, spacing: tuple[float, float, float] | None, argument: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """The voxels as they are meant, and where they lie.

        Parameters
        ----------
        path : Path
            An existing file.
        spacing : three floats or None
            In mm, for formats that record none; one that does refuses it.
        argument : str
            How the user named the path; an error begins with it.

        Returns
        -------
        array : array, shape (I, J, K)
            Real numbers, any scale factor of the file applied; not finite ones are let through.
        affine : array, shape (4, 4)
            Voxel index → millimetres, RAS+.

        Raises
        ------
        CaseError
            If the file does not hold exactly one image of real numbers.
        """

    def write(
        self,
        draft: Path,
        array: np.ndarray,
        affine: np.ndarray,
        *,
        name: Path,
        like: Path | None,
        description: str,
    ) -> None:
        """Write one file whole; same input, same bytes.

        Parameters
        ----------
        draft : Path
            The temporary file to create; it has the ending of ``name``.
        array : float32, uint8 or int16 array, shape (I, J, K)
            Intensities, or labels where the type is an integer.
        affine : array, shape (4, 4)
            Voxel index → millimetres, RAS+.
        name : Path
            What the file will be called; an error names it.
        like : Path or None
            A file of the same lattice, whose shape, geometry fields and number type are repeated
            as far as both formats have them.
        description : str
            At most 79 bytes of ASCII for the header; empty for none.

        Raises
        ------
        CaseError
            If the format cannot hold such an array.
        OSError
            If the disk refuses.
        """


_FORMATS: tuple[Format, ...] = (nifti, image)
SUFFIXES: tuple[str, ...] = tuple(suffix for form in _FORMATS for suffix in form.SUFFIXES)
_LEGAL_FILE = f"a file that ends with {', '.join(SUFFIXES)}"

# BIDS suffixes of files that hold no scan: label maps, masks, probabilities.
_NOT_SCANS = ("dseg", "probseg", "mask")
# Colours for structures without one (Paul Tol's "bright" scheme, safe for colour-blind readers).
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


def _format_of(path: Path, argument: str) -> Format:
    for form in _FORMATS:
        if path.name.lower().endswith(form.SUFFIXES):
            return form
    raise CaseError(explain(argument, path, "has an ending that names no format", _LEGAL_FILE))


def stem(path: str | Path) -> str:
    """The file's name without its ending.

    >>> stem("sub-01/anat/sub-01_T1w.nii.gz")
    'sub-01_T1w'
    """
    name = Path(path).name
    endings = sorted(SUFFIXES, key=len, reverse=True)
    ending = next((end for end in endings if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def find_images(
    path: str | Path, *, modality: str | None = None, argument: str = "-i"
) -> list[Path]:
    """The scans that a path means: a file itself; of a folder, all that lie below it, sorted.

    Hidden files and folders are left out, and files that BIDS names as label maps, masks or
    probabilities (``_dseg``, ``_mask``, ``_probseg``).

    Parameters
    ----------
    path : str or Path
        A file, a folder, or a BIDS dataset.
    modality : str, optional
        Of a folder, only the files whose names end with this modality.
    argument : str
        How the user named the path; an error begins with it.

    Raises
    ------
    CaseError
        The path does not exist, or is a folder without such an image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.exists():
        raise CaseError(explain(argument, path, "does not exist", "an existing file or folder"))
    wanted = None if modality is None else modality_name(modality, argument)
    found = [
        file
        for file in _below(path)
        if _suffix(file) not in _NOT_SCANS and wanted in (None, modality_from_filename(file.name))
    ]
    if not found:
        problem = f"holds no {f'{wanted} ' if wanted else ''}image"
        legal = f"a folder with files that end with {', '.join(SUFFIXES)}"
        raise CaseError(explain(argument, path, problem, legal))
    return found


def find_maps(folder: str | Path, suffix: str) -> list[Path]:
    """The files below a folder that BIDS names as maps of a kind, sorted; hidden ones left out.

    Parameters
    ----------
    folder : str or Path
    suffix : {"dseg", "mask", "probseg"}
        Label maps, masks or probabilities.
    """
    return [file for file in _below(Path(folder)) if _suffix(file) == suffix]


def _below(folder: Path) -> list[Path]:
    """All files below a folder whose ending is a format's, but hidden ones.

    Links to folders are followed; a folder that can be reached in several ways is taken once, by
    its own path if that is below the folder.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    pending = [folder]
    while pending:
        for here, folders, names in os.walk(pending.pop(0)):
            real = Path(here).resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            # Links come after all that is really there; `os.walk` does not follow them itself.
            pending += [Path(here, one) for one in folders if Path(here, one).is_symlink()]
            found += [
                Path(here, name)
                for name in names
                if name.lower().endswith(SUFFIXES) and not name.startswith(".")
            ]
    return sorted(file for file in found if file.is_file())


def _suffix(file: Path) -> str:
    """What BIDS calls the suffix: the last part of the name."""
    return stem(file).rsplit("_", 1)[-1].lower()


def check_spacing(
    spacing: float | Sequence[float] | None,
) -> tuple[float, float, float] | None:
    """The spacing along three axes in mm; one that is not positive raises `UsageError`."""
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
        raise CaseError(explain(argument, path, "is a folder", _LEGAL_FILE))
    if not path.exists():
        raise CaseError(explain(argument, path, "does not exist", "an existing file"))
    return _format_of(path, argument).read(path, check_spacing(spacing), argument)


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
        Any name `chiasm.modality.modality_name` knows; by default what the file's name ends with.
    spacing : float or three floats, optional
        In mm, for PNG and TIFF, which record none (1 mm is then assumed, with a warning).
    argument : str
        How the user named the path; an error begins with it.

    Returns
    -------
    Volume
        With finite, not constant intensities; axes of length 1 beyond the third are dropped, and
        come back when it is written with ``like=path``.

    Raises
    ------
    CaseError
        Missing, not an image, damaged, several volumes, complex or colour, empty (all zero),
        constant, NaN or Inf, spacing not positive, affine singular.
    UsageError
        If the modality or the spacing is not one.
    """
    path = Path(path)
    name = modality_name(modality) if modality else modality_from_filename(path.name)
    array, affine = _read_array(path, spacing, argument)
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
            volume = Volume(array, affine, modality=name)
    except CaseError as error:
        raise CaseError(f"{argument} {path}: {error}") from None
    low, high = volume.array.min(), volume.array.max()
    if low == high:
        problem = "is empty (all zero)" if low == 0 else f"is constant (all {low:g})"
        raise CaseError(explain(argument, path, problem, "a scan with different intensities"))
    return volume


def read_labels(path: str | Path, *, argument: str = "-i") -> LabelVolume:
    """Read a label map, and the names and colours in the ``.tsv`` beside it, if there.

    Structures that no table names are called ``label-<value>``.

    Raises
    ------
    CaseError
        As `read` (but a map may be constant), values that are not whole numbers of 16 bits, or a
        table without the columns ``index`` and ``name``.
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
    known = {label.value: label for label in (_read_table(table) if table.is_file() else ())}
    for value in np.unique(labels.array):
        known.setdefault(int(value), _nameless(int(value)))
    return LabelVolume(labels.array, affine, tuple(known[value] for value in sorted(known)))


def _nameless(value: int) -> Label:
    if value == 0:
        return Label(0, "background", "#000000")
    return Label(value, f"label-{value}", _COLOURS[(value - 1) % len(_COLOURS)])


def _read_table(path: Path) -> tuple[Label, ...]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig")), delimiter="\t"))
        return tuple(
            Label(
                int(row["index"]),
                row["name"],
                row.get("color") or _nameless(int(row["index"])).colour,
            )
            for row in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        legal = "tab-separated columns index, name and color (BIDS, _dseg.tsv)"
        raise CaseError(explain("table", path, "is not a table of labels", legal)) from error


def _table(labels: Sequence[Label]) -> str:
    rows = [f"{label.value}\t{label.name}\t{label.colour}\n" for label in labels]
    return "index\tname\tcolor\n" + "".join(rows)


def write(
    volume: Volume | LabelVolume,
    path: str | Path,
    *,
    overwrite: bool = False,
    synthetic: bool = False,
    like: str | Path | None = None,
    argument: str = "-o",
) -> Path:
    """Write a scan as float32, or a label map as integers with its table of names beside it.

    Parameters
    ----------
    volume : Volume or LabelVolume
        A label map ``X_dseg.nii.gz`` gets ``X_dseg.tsv`` with the BIDS columns index, name, color.
    path : str or Path
        Its ending chooses the format; missing folders are created.
    overwrite : bool
        Whether existing files may be replaced.
    synthetic : bool
        Mark the header's description with ``synthetic: chiasm <version>``.
    like : str or Path, optional
        The input file this was made from, on the same lattice: its exact shape (4D with one
        volume, 2D), affine fields and units, or its bit depth, are repeated.
    argument : str
        How the user named the path; an error begins with it.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    CaseError
        The file exists, its ending names no format, the format cannot hold the array, or the disk
        refuses; nothing is left half written.
    """
    path, like = Path(path), None if like is None else Path(like)
    form = _format_of(path, argument)
    check_output(path, overwrite, argument=argument)
    mark = f"synthetic: chiasm {version('chiasm')}" if synthetic else ""
    if isinstance(volume, Volume):
        with atomic(path, argument=argument) as draft:
            form.write(draft, volume.array, volume.affine, name=path, like=like, description=mark)
        return path
    array = volume.array
    if array.min() >= 0 and array.max() <= np.iinfo(np.uint8).max:
        array = array.astype(np.uint8)
    table = check_output(path.with_name(f"{stem(path)}.tsv"), overwrite, argument=argument)
    with atomic(table, argument=argument) as names, atomic(path, argument=argument) as draft:
        names.write_bytes(_table(volume.labels).encode())
        form.write(draft, array, volume.affine, name=path, like=like, description=mark)
    return path
