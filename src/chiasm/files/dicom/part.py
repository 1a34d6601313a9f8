"""A DICOM file in a folder or in a zip archive, which is never unpacked to the disk."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chiasm.errors import CaseError, explain

# A DICOM file begins with 128 bytes of any content and these letters.
_PREAMBLE, _LETTERS = 128, b"DICM"
# An archive with more than this is refused: DICOM hardly compresses beyond a factor of ten.
_LARGEST_RATIO, _FREE = 200, 1 << 26
# Entries of which each image has one number. An empty one is read as None.
_ONE_NUMBER = {
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "SeriesNumber", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
}
# What a damaged or encrypted archive raises; RuntimeError is that of a missing password.
_DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError)


@dataclass(frozen=True)
class Part:
    """One file.

    Attributes
    ----------
    path : Path
        The file, or the archive that holds it.
    member : str
        Its name in the archive; empty for a file on the disk.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The name of the file alone."""
        return self.member.rpartition("/")[2] if self.member else self.path.name

    def content(self) -> io.BufferedIOBase:
        """The open file, to be closed by the caller."""
        if not self.member:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as archive:
            return io.BytesIO(archive.read(self.member))

    def header(self, tags: Sequence[str] | None = None) -> Any:
        """The header without pixels, or only these of its tags.

        Raises
        ------
        CaseError
            The file cannot be read as DICOM.
        """
        return self._read(stop_before_pixels=True, specific_tags=None if tags is None else [*tags])

    def dataset(self) -> Any:
        """The complete file.

        Raises
        ------
        CaseError
            The file cannot be read as DICOM.
        """
        return self._read()

    def _read(self, **how: Any) -> Any:
        if not is_installed():
            problem, legal = "is DICOM, which needs pydicom", "pip install 'chiasm[dicom]'"
            raise CaseError(explain("-i", self, problem, legal))
        from pydicom import config, dcmread

        # pydicom warns about values that break the standard. Chiasm checks those that it needs.
        config.settings.reading_validation_mode = config.IGNORE
        try:
            with self.content() as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _readable(dcmread(file, **how))
        except Exception as error:  # pydicom lets errors of many types through
            problem = f"cannot be read as DICOM ({type(error).__name__}: {_line(error)})"
            raise CaseError(explain("-i", self, problem, "an undamaged DICOM file")) from None


def _readable(dataset: Any) -> Any:
    """The dataset without values that cannot be read, so that they count as missing."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]  # pydicom converts a value when it is first asked for
            if element.keyword in _ONE_NUMBER:
                float(element.value)
        except Exception:  # pydicom lets errors of many types through
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                _readable(item)
    return dataset


def is_installed() -> bool:
    """Whether pydicom, which reads the files, is installed."""
    return find_spec("pydicom") is not None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or "no message"


def looks_like_dicom(start: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of a DICOM file."""
    return start[_PREAMBLE : _PREAMBLE + len(_LETTERS)] == _LETTERS


def may_be_dicom(name: str) -> bool:
    """Whether DICOM files have such names: an ending of DICOM, no ending, or one of digits.

    >>> [may_be_dicom(name) for name in ("1.dcm", "IM0001", "1.2.840.113619", "T1w.json")]
    [True, True, True, False]
    """
    ending = os.path.splitext(name.lower())[1]
    known = ending in ("", ".dcm", ".ima", ".dicom") or ending[1:].isdigit()
    return known and not name.startswith(".") and name.upper() != "DICOMDIR"


def is_dicom(path: Path) -> bool:
    """Whether a file on the disk begins as a DICOM file does."""
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file.read(_PREAMBLE + len(_LETTERS)))
    except OSError:
        return False


def is_archive(path: Path) -> bool:
    """Whether a file has the name and the content of a zip archive."""
    return path.suffix.lower() == ".zip" and path.is_file() and zipfile.is_zipfile(path)


def parts_of(path: Path) -> Iterator[Part]:
    """The DICOM files of a folder with all folders below it, of a zip archive, or of one file.

    Files that do not begin as DICOM files do are left out, and so are hidden files.

    Raises
    ------
    CaseError
        The archive is damaged or encrypted, or holds far more data than its size allows.
    """
    if path.is_dir():
        for folder, inside, names in os.walk(path):
            inside[:] = sorted(one for one in inside if not one.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and is_dicom(found := Path(folder, name)):
                    yield Part(found)
    elif zipfile.is_zipfile(path):
        yield from _members(path)
    elif is_dicom(path):
        yield Part(path)


def _members(path: Path) -> Iterator[Part]:
    legal = "an undamaged zip archive of DICOM files without a password"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [one for one in archive.infolist() if not one.is_dir()]
            whole = sum(one.file_size for one in entries)
            if whole > max(_FREE, _LARGEST_RATIO * path.stat().st_size):
                problem = f"holds {whole / 1e9:.1f} GB in {path.stat().st_size / 1e6:.1f} MB"
                raise CaseError(explain("-i", path, problem, "an archive of DICOM files"))
            for entry in sorted(entries, key=lambda one: one.filename):
                name = entry.filename.rpartition("/")[2]
                if name.startswith((".", "._")) or "__MACOSX" in entry.filename:
                    continue
                with archive.open(entry) as file:
                    if looks_like_dicom(file.read(_PREAMBLE + len(_LETTERS))):
                        yield Part(path, entry.filename)
    except _DAMAGED as error:
        problem = f"cannot be read ({_line(error)})"
        raise CaseError(explain("-i", path, problem, legal)) from None
