"""NIfTI-1 and NIfTI-2 single files, plain or gzipped, through nibabel."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from nibabel.spatialimages import HeaderDataError

from chiasm.errors import CaseError, explain

SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz")
_BROKEN = (OSError, EOFError, ValueError, zlib.error, HeaderDataError, MemoryError)
_UNREADABLE = "cannot be read as NIfTI: not an image, damaged or truncated"
_COMPRESSION = 1  # of 9; the higher ones take four times as long for a tenth less
_LEGAL = "a complete .nii or .nii.gz file"

# The header fields that say where the voxels lie; an output repeats its input's.
_GEOMETRY = (
    "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code",
    "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def _raw_header(path: Path, argument: str) -> nib.Nifti1Header:
    """The header as it stands in the file: nibabel's own loader mends a bad spacing silently."""
    try:
        with Opener(str(path)) as file:
            block = file.read(nib.Nifti2Header.sizeof_hdr)
        for kind in (nib.Nifti2Header, nib.Nifti1Header):
            if kind.may_contain_header(block):
                return kind(block[: kind.sizeof_hdr], check=False)
    except _BROKEN as error:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL))


def _check(header: nib.Nifti1Header, path: Path, argument: str) -> None:
    shape = header.get_data_shape()
    dtype = header.get_data_dtype()
    spacing = np.asarray(header["pixdim"][1 : 1 + min(len(shape), 3)])
    if len(shape) < 2 or min(shape) < 1:
        problem, legal = f"has shape {shape}", "two or three axes of at least one voxel"
    elif math.prod(shape[3:]) != 1:
        problem = f"holds {math.prod(shape[3:])} volumes"
        legal = "one volume (split the series, and give the volumes one by one)"
    elif dtype.kind not in "iuf":
        what = "complex" if dtype.kind == "c" else "colour (RGB)"
        problem, legal = f"holds {what} numbers", "one real number per voxel"
    elif not (np.isfinite(spacing) & (spacing > 0)).all():
        problem = f"has the spacing {'×'.join(f'{s:g}' for s in spacing)} mm"
        legal = "a positive spacing along every axis (pixdim in the header)"
    else:
        return
    raise CaseError(explain(argument, path, problem, legal))


def read(
    path: Path, spacing: tuple[float, float, float] | None, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """See `chiasm.files.Format.read`; a NIfTI records its spacing, so giving one is an error."""
    if spacing is not None:
        problem = f"is not for {path}, whose header records it"
        raise CaseError(explain("--spacing", spacing, problem, "a spacing for PNG and TIFF only"))
    _check(_raw_header(path, argument), path, argument)
    try:
        image = nib.load(path)
        assert isinstance(image, nib.Nifti1Image)
        array, affine = np.asanyarray(image.dataobj), image.affine
    except (*_BROKEN, nib.filebasedimages.ImageFileError) as error:
        raise CaseError(explain(argument, path, _UNREADABLE, _LEGAL)) from error
    return array.reshape((*array.shape, 1)[:3]), affine


def _header(array: np.ndarray, affine: np.ndarray, like: Path | None) -> nib.Nifti1Header:
    """Geometry of the file ``like`` if there is one, else scanner coordinates in mm."""
    source = nib.load(like).header if like else nib.Nifti1Header()
    assert isinstance(source, nib.Nifti1Header)
    header = type(source)()
    header.set_data_dtype(array.dtype)
    if like:
        shape = source.get_data_shape()
        if (*shape, 1)[:3] != array.shape:
            raise ValueError(f"{like} has the shape {shape}, the array {array.shape}")
        header.set_data_shape(shape)
        for name in _GEOMETRY:
            header[name] = source[name]
        return header
    header.set_data_shape(array.shape)
    header.set_sform(affine, code="scanner")
    try:
        header.set_qform(affine, code="scanner", strip_shears=False)
    except HeaderDataError:  # a quaternion cannot hold shear; readers then take the sform
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
    """See `chiasm.files.Format.write`; from ``like`` the header's shape and geometry are kept."""
    like = like if like and like.name.lower().endswith(SUFFIXES) else None
    header = _header(array, affine, like)
    header["descrip"] = description.encode()[:79]
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    data = kind(array.reshape(header.get_data_shape()), affine, header).to_bytes()
    if name.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=_COMPRESSION, mtime=0)
    draft.write_bytes(data)
