"""FreeSurfer's volumes (.mgz and .mgh), which are read with nibabel and not written.

The format has no place for a description, so that what Chiasm made could not be told from a scan.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError

from chiasm.errors import CaseError, explain
from chiasm.machine.free_memory import check_fits, does_not_fit

SUFFIXES: tuple[str, ...] = (".mgz", ".mgh")
RECORDS_SPACING = True
WRITES = False
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    zlib.error,
    HeaderDataError,
    MGHError,
)
_UNREADABLE = "cannot be read as a volume of FreeSurfer: not an image, damaged or truncated"
_LEGAL = "a complete .mgz or .mgh file"
_FLAG = 28  # the byte at which the flag of the position stands
_DEFLATE = 1032  # the highest compression ratio of gzip


def description(path: Path) -> str:
    """See `chiasm.files.Format.description`. The format has none."""
    return ""


def read(
    path: Path, spacing: tuple[float, float, float] | None, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """See `chiasm.files.Format.read`. A spacing is refused, because the file records its own."""
    if spacing is not None:
        problem = f"does not apply to {path}, whose header records its spacing"
        raise CaseError(explain("--spacing", spacing, problem, "a spacing for PNG and TIFF only"))
    try:
        header, good = _header(path)
        shape, kind = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
    except _BROKEN as error:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    if len(shape) > 3 and math.prod(shape[3:]) != 1:
        problem = f"holds {math.prod(shape[3:])} volumes"
        raise CaseError(explain(argument, path, problem, "one volume"))
    if min(shape) < 1:
        legal = "three axes of at least one voxel"
        raise CaseError(explain(argument, path, f"has shape {shape}", legal))
    if not good:
        problem = "does not tell where its voxels lie (goodRASFlag is 0)"
        raise CaseError(explain(argument, path, problem, "a volume with its position in space"))
    stored = math.prod(shape) * kind.itemsize
    factor = _DEFLATE if path.name.lower().endswith(".mgz") else 1
    if stored > path.stat().st_size * factor:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL))
    check_fits(stored + 5 * math.prod(shape), argument, path, "for reading it")
    try:
        image = nib.MGHImage.from_filename(path)
        array, affine = np.asanyarray(image.dataobj), image.affine
    except MemoryError as error:
        raise does_not_fit(argument, path) from error
    except _BROKEN as error:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    return array.reshape((*array.shape, 1)[:3]), affine


def _header(path: Path) -> tuple[nib.freesurfer.mghformat.MGHHeader, bool]:
    """The header, and whether it tells the position; nibabel invents one if it does not."""
    opened = gzip.open if path.name.lower().endswith(".mgz") else open
    with opened(path, "rb") as file:
        good = bool(int.from_bytes(file.read(_FLAG + 2)[_FLAG:], "big"))
        file.seek(0)
        return nib.MGHImage.header_class.from_fileobj(file), good


def write(
    draft: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    name: Path,
    like: Path | None,
    description: str,
) -> None:
    """See `chiasm.files.Format.write`. It always raises `CaseError`."""
    legal = "a name that ends with .nii.gz"
    raise CaseError(explain("-o", name, "has a format that is only read", legal))
