"""PNG and TIFF files with one grey axial slice, read and written with Pillow.

Such a file records neither spacing nor orientation. The spacing is the one that is given, or 1 mm.
The slice is taken as an axial slice in radiological display: columns run from the patient's right
(the viewer's left) to the left, and rows from anterior to posterior. The array has the shape
(columns, rows, 1) and the affine ``diag(-dx, -dy, dz, 1)``.
"""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from chiasm.errors import CaseError, explain
from chiasm.machine.free_memory import does_not_fit

SUFFIXES: tuple[str, ...] = (".png", ".tif", ".tiff")
RECORDS_SPACING = False
_TIFF = (".tif", ".tiff")
_DISPLAY = ("L", "P", "S")  # directions of columns, rows and slices
_TIFF_DESCRIPTION = 270  # number of the tag ImageDescription
_LEVELS = 16  # rounding is visible with fewer grey levels than this
_log = logging.getLogger("chiasm")


def _open(path: Path, argument: str) -> Image.Image:
    try:
        image = Image.open(path, formats=("PNG", "TIFF"))
        image.load()
    except MemoryError as error:
        raise does_not_fit(argument, path) from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise CaseError(
            explain(argument, path, "cannot be read as an image", "a grey PNG or TIFF")
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise CaseError(
            explain(argument, path, "is damaged or truncated", "a complete PNG or TIFF")
        ) from error
    return image


def _grey(image: Image.Image, path: Path, argument: str) -> np.ndarray:
    """The grey values, shape (rows, columns)."""
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise CaseError(
            explain(
                argument,
                path,
                f"holds {pages} pages",
                "one page (store a stack of slices as NIfTI)",
            )
        )
    if image.mode == "P":
        image = image.convert("RGB")
    array = np.asarray(image)
    if image.mode in ("LA", "La"):
        return array[..., 0]
    if image.mode in ("RGB", "RGBA") and (array[..., :3] == array[..., :1]).all():
        return array[..., 0]
    if array.ndim != 2:
        raise CaseError(explain(argument, path, "is in colour", "one grey value per pixel"))
    return array


def read(
    path: Path, spacing: tuple[float, float, float] | None, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """See `chiasm.files.Format.read`."""
    array = _grey(_open(path, argument), path, argument)
    if spacing is None:
        _log.warning(
            "chiasm: warning: %s: This file records no spacing. It is read as an axial slice with "
            "a spacing of 1 mm; --spacing sets another.",
            path,
        )
        spacing = (1.0, 1.0, 1.0)
    dx, dy, dz = spacing
    return array.T[..., None], np.diag([-dx, -dy, dz, 1.0])


def description(path: Path) -> str:
    """See `chiasm.files.Format.description`. It is a PNG text or the TIFF tag ImageDescription."""
    try:
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            said = image.info.get("Description")
            if said is None and image.format == "TIFF":
                said = getattr(image, "tag_v2", {}).get(_TIFF_DESCRIPTION)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return ""
    return said if isinstance(said, str) else ""


def write(
    draft: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    name: Path,
    like: Path | None,
    description: str,
) -> None:
    """See `chiasm.files.Format.write`.

    Pixels are whole numbers of 8 or 16 bits if those of ``like`` are. Otherwise a TIFF holds
    float32 and a PNG 16 bits. Values outside the range are clipped. If clipping or rounding would
    destroy most of the contrast, the values are scaled to the range, with a warning.
    """
    tiff = name.suffix.lower() in _TIFF
    array = _as_displayed(array, affine, name)
    if np.issubdtype(array.dtype, np.integer):
        array = _as_labels(array, name)
    else:
        dtype = _whole_dtype(like) or np.dtype(np.float32 if tiff else np.uint16)
        array = array.astype(dtype) if dtype.kind == "f" else _as_grey_levels(array, dtype, name)
    image = Image.fromarray(np.ascontiguousarray(array))
    if tiff:
        image.save(draft, format="TIFF", description=description)
    else:
        info = PngInfo()
        if description:
            info.add_text("Description", description)
        image.save(draft, format="PNG", pnginfo=info)


def _as_displayed(array: np.ndarray, affine: np.ndarray, name: Path) -> np.ndarray:
    """An axial slice, shape (rows, columns), in the orientation that `read` assumes."""
    turn = orientations.ornt_transform(
        nib.io_orientation(affine), orientations.axcodes2ornt(_DISPLAY)
    )
    turned = orientations.apply_orientation(array, turn)
    if turned.shape[2] != 1:
        size = "×".join(map(str, turned.shape))
        legal = "one axial slice, or a name that ends with .nii.gz"
        raise CaseError(explain("-o", name, f"cannot hold a volume of {size}", legal))
    return turned[..., 0].T


def _as_labels(array: np.ndarray, name: Path) -> np.ndarray:
    if array.min() < 0:
        legal = "labels of at least 0, or a name that ends with .nii.gz"
        raise CaseError(explain("-o", name, f"cannot hold the label {array.min()}", legal))
    return array.astype(np.uint8 if array.max() < 256 else np.uint16)


def _as_grey_levels(array: np.ndarray, dtype: np.dtype, name: Path) -> np.ndarray:
    """Round and clip, or scale an image that would lose its contrast, with a warning."""
    top = np.iinfo(dtype).max
    low, high = np.percentile(array, (0.5, 99.5))
    if low < -1 or high > top + 1 or high - low < _LEVELS:
        low, high = array.min(), array.max()
        _log.warning(
            "chiasm: warning: %s: The values %.4g … %.4g are scaled to 0 … %d, because whole "
            "numbers would lose their contrast.",
            *(name, low, high, top),
        )
        array = (array - low) * (top / max(high - low, np.finfo(np.float32).tiny))
    return np.clip(np.round(array), 0, top).astype(dtype)


def _whole_dtype(like: Path | None) -> np.dtype | None:
    """The number type of ``like`` if it is a PNG or TIFF of 8 or 16 bits, otherwise None."""
    if like is None or not like.name.lower().endswith(SUFFIXES):
        return None
    dtype = np.asarray(_open(like, "-i")).dtype
    return dtype if dtype in (np.uint8, np.uint16) else None
