"""Malformed scans, drawn from a seed: damaged NIfTI files, DICOM series, and zip archives.

Every input is what a disk error, an interrupted copy, another program or a hostile sender may
leave. Some of them are legal by chance, for example a scan with one changed voxel.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

# Byte offsets of fields in the header of NIfTI-1, and their formats.
_FIELDS = {
    "sizeof_hdr": (0, "<i"),
    "dim": (40, "<8h"),
    "datatype": (70, "<h"),
    "bitpix": (72, "<h"),
    "pixdim": (76, "<8f"),
    "vox_offset": (108, "<f"),
    "scl_slope": (112, "<f"),
    "scl_inter": (116, "<f"),
    "qform_code": (252, "<h"),
    "sform_code": (254, "<h"),
    "srow_x": (280, "<4f"),
    "magic": (344, "4s"),
}
_ODD = {
    "sizeof_hdr": [(0,), (540,), (-1,), (1543569408,)],
    "dim": [
        (0,) * 8, (3, 0, 28, 6, 1, 1, 1, 1), (3, -24, 28, 6, 1, 1, 1, 1),
        (9, 24, 28, 6, 1, 1, 1, 1), (3, 30000, 30000, 30000, 1, 1, 1, 1),
        (4, 24, 28, 3, 2, 1, 1, 1), (2, 24, 168, 0, 0, 0, 0, 0),
        (1, 4032, 1, 1, 1, 1, 1, 1), (5, 24, 28, 1, 1, 6, 1, 1), (3, 24, 28, 600, 1, 1, 1, 1),
        (3, 1, 1, 4032, 1, 1, 1, 1), (7, 2, 2, 2, 2, 2, 2, 63),
    ],
    "datatype": [(0,), (1,), (2,), (32,), (128,), (1536,), (2304,), (-5,), (9999,)],
    "bitpix": [(0,), (-32,), (7,), (64,)],
    "pixdim": [
        (1, 0, 2, 4, 1, 1, 1, 1), (1, np.nan, 2, 4, 1, 1, 1, 1), (1, np.inf, 2, 4, 1, 1, 1, 1),
        (1, -2, 2, 4, 1, 1, 1, 1), (0, 1e-30, 1e-30, 1e-30, 1, 1, 1, 1),
        (1, 1e9, 1e9, 1e9, 1, 1, 1, 1),
    ],
    "vox_offset": [(0.0,), (-352.0,), (1e9,), (np.nan,), (353.0,), (np.inf,)],
    "scl_slope": [(0.0,), (np.nan,), (np.inf,), (-1.0,), (1e38,)],
    "scl_inter": [(np.nan,), (np.inf,), (-1e38,)],
    "qform_code": [(-1,), (99,)],
    "sform_code": [(0,), (-3,), (99,)],
    "srow_x": [(0, 0, 0, 0), (np.nan, 0, 0, 0), (np.inf, 0, 0, 0), (1e-20, 0, 0, 0), (2, 2, 2, 2)],
    "magic": [(b"\0\0\0\0",), (b"ni1\0",), (b"n+2\0",), (b"abcd",)],
}  # fmt: skip


def _scan(rng: np.random.Generator) -> bytes:
    """The bytes of a small brain as NIfTI, not compressed."""
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 28, 6)), indexing="ij")
    inside = sum(x**2 for x in at) < 0.9
    values = (rng.uniform(20, 150, inside.shape) * inside).astype(np.float32)
    return nib.Nifti1Image(values, np.diag([2.0, 2, 4, 1])).to_bytes()


def _save(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def _odd_header(rng: np.random.Generator, folder: Path) -> Path:
    """One to three fields of the header hold odd values."""
    content = bytearray(_scan(rng))
    for field in rng.choice([*_FIELDS], size=rng.integers(1, 4), replace=False):
        offset, form = _FIELDS[field]
        values = _ODD[field][rng.integers(len(_ODD[field]))]
        content[offset : offset + struct.calcsize(form)] = struct.pack(form, *values)
    if rng.random() < 0.5:
        return _save(folder, "sub-01_T2w.nii", bytes(content))
    return _save(folder, "sub-01_T2w.nii.gz", gzip.compress(bytes(content)))


def _random_header(rng: np.random.Generator, folder: Path) -> Path:
    """Random bytes of the header are changed."""
    content = bytearray(_scan(rng))
    for place in rng.integers(0, 352, rng.integers(1, 40)):
        content[place] = rng.integers(256)
    return _save(folder, "sub-01_T2w.nii.gz", gzip.compress(bytes(content)))


def _truncated(rng: np.random.Generator, folder: Path) -> Path:
    """The file ends early, before or after it was compressed."""
    content = _scan(rng)
    cut = int(rng.integers(0, len(content)))
    if rng.random() < 0.4:
        return _save(folder, "sub-01_T2w.nii", content[:cut])
    packed = gzip.compress(content)
    if rng.random() < 0.5:
        return _save(folder, "sub-01_T2w.nii.gz", gzip.compress(content[:cut]))
    return _save(folder, "sub-01_T2w.nii.gz", packed[: cut % len(packed)])


def _flipped(rng: np.random.Generator, folder: Path) -> Path:
    """Random bits of the compressed file are flipped."""
    content = bytearray(gzip.compress(_scan(rng)))
    for place in rng.integers(0, len(content), rng.integers(1, 20)):
        content[place] ^= 1 << int(rng.integers(8))
    return _save(folder, "sub-01_T2w.nii.gz", bytes(content))


def _odd_values(rng: np.random.Generator, folder: Path) -> Path:
    """The voxels are all equal, not finite, huge, negative, complex or colours."""
    shape = (24, 28, 6)
    noise = rng.normal(size=shape).astype(np.float32)
    rgb = np.zeros(shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    choices = [
        np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32),
        np.full(shape, np.inf, np.float32), np.where(noise > 0, np.nan, noise),
        np.where(noise > 0, np.float32(3e38), noise), noise.astype(np.complex64), rgb, noise - 1e6,
        np.eye(24, 28)[..., None].repeat(6, 2).astype(np.int16), np.zeros((0, 28, 6), np.float32),
        noise[..., None].repeat(5, 3), noise[:1], noise[:, :, 0], noise[0, 0],
        noise * np.float32(1e-38), np.where(noise > 3, np.float32(1), 0).astype(np.float32),
    ]  # fmt: skip
    image = nib.Nifti1Image(choices[rng.integers(len(choices))], np.diag([2.0, 2, 4, 1]))
    content = bytearray(image.to_bytes())
    if rng.random() < 0.3:  # the first rows of the affine, which nibabel would not write
        struct.pack_into("<8f", content, 280, *[rng.choice([0, np.nan, 1e12, 1e-12])] * 8)
    return _save(folder, "sub-01_T2w.nii.gz", gzip.compress(bytes(content)))


def _wrong_type(rng: np.random.Generator, folder: Path) -> Path:
    """The content is not that of the ending."""
    contents = [b"", b"\0" * 500, rng.bytes(5000), b"<html>404</html>", gzip.compress(b"hello"),
                gzip.compress(rng.bytes(400)), b"\x1f\x8b", "größe\n".encode() * 90,
                b"PK\3\4" + rng.bytes(100), b"\0" * 128 + b"DICM" + rng.bytes(300)]  # fmt: skip
    names = ["sub-01_T2w.nii.gz", "sub-01_T2w.nii", "sub-01_T2w.dcm", "sub-01_T2w.zip",
             "sub-01_T2w.mgz", "sub-01_T2w.png", "sub-01_T2w", "sub-01_T2w.img"]  # fmt: skip
    name = names[rng.integers(len(names))]
    if rng.random() < 0.1:
        (folder / name).mkdir(parents=True)
        return folder / name
    return _save(folder, name, contents[rng.integers(len(contents))])


def _inflating(rng: np.random.Generator, folder: Path) -> Path:
    """A small compressed file that is far larger than its header says, or as large as it says."""
    header = bytearray(_scan(rng)[:352])
    if rng.random() < 0.5:
        struct.pack_into("<8h", header, 40, 3, 20000, 20000, 2000, 1, 1, 1, 1)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(bytes(header))
        for _ in range(64):
            file.write(bytes(1 << 20))
    return _save(folder, "sub-01_T2w.nii.gz", packed.getvalue())


def _series(rng: np.random.Generator) -> list:
    from dicom_files import slices

    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 28, 24)), indexing="ij")
    inside = sum(x**2 for x in at) < 0.9
    return slices((rng.uniform(20, 900, inside.shape) * inside).astype("u2"))


_TAGS = [
    "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PhotometricInterpretation", "PixelData", "SeriesInstanceUID",
    "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "ImageType", "InstanceNumber",
    "SeriesDescription", "EchoTime", "RepetitionTime", "NumberOfFrames", "RescaleSlope",
]  # fmt: skip
_VALUES = [
    0, 1, 65535, "", "x", -1, "NaN", [1, 2], ["0", "0", "0"], "1e400", ["1"] * 6, "1.2.3.4", "MR",
    ["0"] * 6, ["nan"] * 3, "../../etc/passwd", "a\\b", b"\0\1", "MONOCHROME1", "RGB", 8, 12,
]  # fmt: skip


def _odd_tags(rng: np.random.Generator, folder: Path) -> Path:
    """Tags are missing, illegal or contradictory, in one file or in all."""
    import warnings

    from dicom_files import write

    made = _series(rng)
    for tag in rng.choice(_TAGS, size=rng.integers(1, 4), replace=False):
        chosen = made if rng.random() < 0.5 else [made[rng.integers(len(made))]]
        value = None if rng.random() < 0.4 else _VALUES[rng.integers(len(_VALUES))]
        for one in chosen:
            if value is None:
                if tag in one:
                    delattr(one, tag)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    before = one.get(tag)
                    setattr(one, tag, value)
                    one.to_json_dict()  # a value that cannot be encoded cannot be written
                except (TypeError, ValueError, AttributeError, OverflowError):
                    if before is not None:
                        setattr(one, tag, before)
                    elif tag in one:
                        delattr(one, tag)
    place = folder / "series"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, one in enumerate(made):
            try:
                write(place / f"{number}", [one], names=["1.dcm"])
            except Exception:  # pydicom refuses to write some of them
                _save(place / f"{number}", "1.dcm", b"\0" * 128 + b"DICM")
    return place


def _damaged_series(rng: np.random.Generator, folder: Path) -> Path:
    """Files are cut, changed, missing, doubled, or not DICOM at all."""
    from dicom_files import write

    place = write(folder / "series", _series(rng))
    files = sorted(place.iterdir())
    for path in rng.choice(files, size=rng.integers(1, 4), replace=False):
        content = bytearray(path.read_bytes())
        kind = rng.integers(6)
        if kind == 0:
            content = content[: rng.integers(len(content))]
        elif kind == 1:
            for at in rng.integers(0, len(content), rng.integers(1, 60)):
                content[at] = rng.integers(256)
        elif kind == 2:
            path.unlink()
            continue
        elif kind == 3:
            path.with_name(path.name + "1").write_bytes(content)
            continue
        elif kind == 4:
            content = bytearray(rng.bytes(300))
        else:
            content = content[:132] + bytearray(rng.bytes(200)) + content[132:]
        path.write_bytes(content)
    return place


def _archive(rng: np.random.Generator, folder: Path) -> Path:
    """An archive that leads outside, is a bomb, holds itself, or is damaged."""
    from dicom_files import write

    place = write(folder / "series", _series(rng))
    contents = [path.read_bytes() for path in sorted(place.iterdir())]
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    names = [f"{k}.dcm" for k in range(len(contents))]
    kind = rng.integers(6)
    if kind == 0:
        outside = ["../", "../../", "/tmp/", "C:\\", "..\\", "a/../../../"][rng.integers(6)]
        names = [f"{outside}{name}" for name in names]
    path = folder / "exam.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in zip(names, contents, strict=True):
            packed.writestr(name, content)
        if kind == 1:
            packed.writestr("9.dcm", contents[0] + bytes(1 << 27))
        elif kind == 2:
            packed.writestr("inner.zip", path.read_bytes())
    content = bytearray(path.read_bytes())
    if kind == 3:
        content = content[: rng.integers(len(content))]
    elif kind == 4:
        for at in rng.integers(0, len(content), 30):
            content[at] = rng.integers(256)
    elif kind == 5:  # the flag of an encrypted member
        content[6] |= 1
        at = content.rfind(b"PK\1\2")
        content[at + 8] |= 1
    return _save(folder, "exam.zip", bytes(content))


KINDS: dict[str, Callable[[np.random.Generator, Path], Path]] = {
    "odd header": _odd_header,
    "random header": _random_header,
    "truncated": _truncated,
    "flipped bits": _flipped,
    "odd values": _odd_values,
    "wrong type": _wrong_type,
    "inflating": _inflating,
    "odd tags": _odd_tags,
    "damaged series": _damaged_series,
    "archive": _archive,
}


def malformed(number: int, folder: Path) -> tuple[str, Path]:
    """Write malformed input ``number`` below a folder; returns its kind and what to give as -i."""
    kind = [*KINDS][number % len(KINDS)]
    return kind, KINDS[kind](np.random.default_rng((20261129, number)), folder)
