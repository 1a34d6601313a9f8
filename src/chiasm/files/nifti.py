"""NIfTI-1 and NIfTI-2 single files, plain or gzipped, read and written with nibabel."""

from __future__ import annotations

import errno
import gzip
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from nibabel.spatialimages import HeaderDataError, SpatialImage

from chiasm.errors import CaseError, explain
from chiasm.machine.free_memory import check_fits, does_not_fit

SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz")
RECORDS_SPACING = True
_BROKEN = (OSError, EOFError, ValueError, zlib.error, HeaderDataError)
_UNREADABLE = "cannot be read as NIfTI: not an image, damaged or truncated"
_BLOCK = 4096  # bytes read at once if only the header is needed
_COMPRESSION = 1  # of 9; higher levels take four times as long and save a tenth
_LEGAL = "a complete .nii or .nii.gz file"
_DEFLATE = 1032  # the highest compression ratio of gzip
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # per unit of the codes for metre, mm and micron

# The header fields that place the voxels in space. An output repeats those of its input.
_GEOMETRY = (
    "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code",
    "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def _raw_header(path: Path, argument: str) -> nib.Nifti1Header:
    """The unchanged header of the file, because nibabel's loader repairs a bad spacing silently."""
    try:
        with Opener(str(path)) as file:
            block = file.read(nib.Nifti2Header.sizeof_hdr)
        for kind in (nib.Nifti2Header, nib.Nifti1Header):
            if kind.may_contain_header(block):
                return kind(block[: kind.sizeof_hdr], check=False)
    except _BROKEN as error:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL))


# Size of the header and offset of its description, for NIfTI-1 and NIfTI-2.
_DESCRIPTIONS = {348: 148, 540: 240}
_DESCRIPTION_LENGTH = 80


def description(path: Path) -> str:
    """See `chiasm.files.Format.description`. Only the first bytes of the file are read."""
    try:
        with open(path, "rb") as file:
            start = _start(file, max(_DESCRIPTIONS))
    except (OSError, zlib.error):
        return ""
    for order in ("little", "big"):
        at = _DESCRIPTIONS.get(int.from_bytes(start[:4], order))
        if at is not None:
            text = start[at : at + _DESCRIPTION_LENGTH].split(b"\0")[0]
            return text.decode("latin-1")
    return ""


def _start(file: BinaryIO, size: int) -> bytes:
    """The first bytes of a file, unpacked if it is gzipped; fewer if the file is shorter."""
    block = file.read(_BLOCK)
    if not block.startswith(b"\x1f\x8b"):
        return block[:size]
    unpack, found = zlib.decompressobj(wbits=31), b""
    while block and len(found) < size and not unpack.eof:
        found += unpack.decompress(block, size - len(found))
        block = unpack.unconsumed_tail or file.read(_BLOCK)
    return found


def _check(header: nib.Nifti1Header, path: Path, argument: str) -> None:
    shape = header.get_data_shape()
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        problem = f"has the unknown number type {int(header['datatype'])}"
        raise CaseError(explain(argument, path, problem, "one real number per voxel")) from None
    spacing = np.asarray(header["pixdim"][1 : 1 + min(len(shape), 3)])
    if len(shape) < 2 or min(shape) < 1:
        problem, legal = f"has shape {shape}", "two or three axes of at least one voxel"
    elif math.prod(shape[3:]) != 1:
        problem = f"holds {math.prod(shape[3:])} volumes"
        legal = "one volume (split the series into single volumes)"
    elif dtype.kind not in "iuf":
        what = "complex" if dtype.kind == "c" else "colour (RGB)"
        problem, legal = f"holds {what} numbers", "one real number per voxel"
    elif not (np.isfinite(spacing) & (spacing > 0)).all():
        problem = f"has the spacing {'×'.join(f'{s:g}' for s in spacing)} mm"
        legal = "a positive spacing along every axis (pixdim in the header)"
    else:
        return
    raise CaseError(explain(argument, path, problem, legal))


def _check_size(header: nib.Nifti1Header, path: Path, argument: str) -> None:
    """Refuse a file that ends too early, and a valid file that is too large for the memory."""
    voxels = math.prod(header.get_data_shape())
    stored = voxels * header.get_data_dtype().itemsize
    factor = _DEFLATE if path.name.lower().endswith(".gz") else 1
    if stored > path.stat().st_size * factor:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL))
    # Memory for the stored voxels, for float32 voxels, and for the test of finite values.
    check_fits(stored + 5 * voxels, argument, path, "for reading it")


def millimetres_per_unit(header: Any) -> float:
    """Millimetres per unit of a header's affine; 1 if the header names no unit.

    The NIfTI field ``xyzt_units`` names the unit of space: metre, millimetre or micron. Headers of
    other formats have no such field and are in millimetres.
    """
    if not isinstance(header, nib.Nifti1Header):
        return 1.0
    return _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)


def affine_in_mm(image: SpatialImage) -> np.ndarray:
    """The affine of a nibabel image, voxel index → millimetres, shape (4, 4).

    nibabel's own affine is in the units that the header names.
    """
    scale = millimetres_per_unit(image.header)
    return np.diag([scale, scale, scale, 1.0]) @ image.affine


def read(
    path: Path, spacing: tuple[float, float, float] | None, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """See `chiasm.files.Format.read`. A spacing is refused, because a NIfTI file records its own.

    The affine is in millimetres, whatever unit of space the header names.
    """
    if spacing is not None:
        problem = f"does not apply to {path}, whose header records its spacing"
        raise CaseError(explain("--spacing", spacing, problem, "a spacing for PNG and TIFF only"))
    header = _raw_header(path, argument)
    _check(header, path, argument)
    _check_size(header, path, argument)
    try:
        image = nib.load(path)
        assert isinstance(image, nib.Nifti1Image)
        array, affine = np.asanyarray(image.dataobj), affine_in_mm(image)
    except MemoryError as error:
        raise does_not_fit(argument, path) from error
    except OSError as error:
        if error.errno == errno.ENOMEM:  # mapping a file gives this error if memory is short
            raise does_not_fit(argument, path) from error
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    except (*_BROKEN, nib.filebasedimages.ImageFileError) as error:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    return array.reshape((*array.shape, 1)[:3]), affine


def _header(array: np.ndarray, affine: np.ndarray, like: Path | None) -> nib.Nifti1Header:
    """A header with the geometry of the file ``like``, or in scanner coordinates in mm."""
    source = nib.load(like).header if like else nib.Nifti1Header()
    assert isinstance(source, nib.Nifti1Header)
    header = type(source)()
    header.set_data_dtype(array.dtype)
    if like:
        shape = source.get_data_shape()
        if (*shape, 1)[:3] != array.shape:
            raise ValueError(f"{like} has the shape {shape}, but the array has {array.shape}")
        header.set_data_shape(shape)
        for name in _GEOMETRY:
            header[name] = source[name]
        return header
    header.set_data_shape(array.shape)
    header.set_sform(affine, code="scanner")
    try:
        header.set_qform(affine, code="scanner", strip_shears=False)
    except HeaderDataError:  # a quaternion cannot hold shear; readers use the sform
        header.set_qform(affine, code="unknown")
    header.set_xyzt_units("mm", "sec")
    return header


def write(
    draft: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    name: Path,
    like: Path | None,
    description: str,
) -> None:
    """See `chiasm.files.Format.write`. The header copies shape and geometry of ``like``."""
    like = like if like and like.name.lower().endswith(SUFFIXES) else None
    header = _header(array, affine, like)
    header["descrip"] = description.encode()[:79]
    if like:
        affine = header.get_best_affine()  # in the units that the copied header names
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    data = kind(array.reshape(header.get_data_shape()), affine, header).to_bytes()
    if name.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=_COMPRESSION, mtime=0)
    draft.write_bytes(data)
