"""The contract between `chiasm.files` and the module of one file format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


class Format(Protocol):
    """The interface that the module or object of a format provides."""

    SUFFIXES: tuple[str, ...]
    """The endings of file names, in lower case with the dot."""

    RECORDS_SPACING: bool
    """Whether files of this format record their spacing, so that none can be given."""

    WRITES: bool
    """Whether files of this format are written. Left out, they are."""

    def read(
        self, path: Path, spacing: tuple[float, float, float] | None, argument: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the voxels and their positions.

        Parameters
        ----------
        path : Path
            An existing file.
        spacing : three floats or None
            In mm, for formats that record no spacing. A format that records it refuses this.
        argument : str
            The argument that named the path; an error begins with it.

        Returns
        -------
        array : array, shape (I, J, K)
            Real numbers after any scale factor of the file. NaN and infinity are let through.
        affine : array, shape (4, 4)
            Voxel index → millimetres, RAS+.

        Raises
        ------
        CaseError
            The file does not hold exactly one image of real numbers.
        """

    def description(self, path: Path) -> str:
        """The description in a file's header, without reading its voxels.

        It is empty if there is none, or if the file is not an image of this format.
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
        """Write one complete file. The same input gives the same bytes.

        Parameters
        ----------
        draft : Path
            The temporary file to create. It has the ending of ``name``.
        array : float32, uint8 or int16 array, shape (I, J, K)
            Intensities, or labels if the type is an integer.
        affine : array, shape (4, 4)
            Voxel index → millimetres, RAS+.
        name : Path
            The final name of the file, for errors.
        like : Path or None
            A file on the same grid. Its shape, geometry fields and number type are repeated as far
            as both formats have them.
        description : str
            At most 79 bytes of ASCII for the header; empty for no description.

        Raises
        ------
        CaseError
            The format cannot hold such an array.
        OSError
            The file cannot be written.
        """
