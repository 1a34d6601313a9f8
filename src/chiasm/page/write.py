"""Pictures and tables on one HTML page that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from chiasm import files
from chiasm.image.foreground import foreground_mask
from chiasm.image.volume import LabelVolume, Volume
from chiasm.page.words import in_words


@dataclass(frozen=True)
class Row:
    """One row of pictures: the title of a case, and its panels by title in the order shown.

    A panel is a finished picture, or a volume. Of a volume the axial slice with most foreground is
    drawn.
    """

    title: str
    panels: Mapping[str, Volume | LabelVolume | Image.Image]


def slice_picture(
    image: Volume | LabelVolume, index: int, shown: tuple[float, float]
) -> Image.Image:
    """One axial slice as a picture in radiological display (the patient's right is on the left).

    Parameters
    ----------
    image : Volume or LabelVolume
        In any orientation. It is turned to the closest axes.
    index : int
        Index of the slice, counted from the feet upwards in the turned volume.
    shown : (float, float)
        The intensities that are drawn black and white. Labels have colours of their own.
    """
    array = np.flip(_turned(image)[:, :, index].T, axis=(0, 1))
    if isinstance(image, LabelVolume):
        colours = np.zeros((*array.shape, 3), np.uint8)
        for label in image.labels:
            colours[array == label.value] = [int(label.colour[k : k + 2], 16) for k in (1, 3, 5)]
        picture = Image.fromarray(colours)
    else:
        low, high = shown
        unit = np.clip((array - low) / max(high - low, 1e-12), 0, 1)
        picture = Image.fromarray((unit * 255).astype(np.uint8))
    step = dict(zip(_axes(image), image.spacing, strict=True))
    finest = min(step["R"], step["A"])
    size = [round(n * step[axis] / finest) for n, axis in zip(array.shape[::-1], "RA", strict=True)]
    return picture.resize(size, Image.Resampling.NEAREST)


def _axes(image: Volume | LabelVolume) -> str:
    return image.orientation.translate(str.maketrans("LPI", "RAS"))


def _turned(image: Volume | LabelVolume) -> np.ndarray:
    orientation = nib.orientations.io_orientation(image.affine)
    return nib.orientations.apply_orientation(image.array, orientation)


def best_slice(image: Volume, mask: np.ndarray | None = None) -> int:
    """Index of the axial slice with most foreground. Without a mask the foreground is found."""
    mask = foreground_mask(image) if mask is None else mask
    return int(_turned(image.with_array(mask)).sum(axis=(0, 1)).argmax())


def write_page(
    path: Path,
    title: str,
    *,
    lead: str,
    rows: Sequence[Row],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write the page with its pictures embedded.

    Parameters
    ----------
    path : Path
    title, lead : str
        The heading, and the paragraph under it.
    rows : sequence of Row
        Rows of pictures. All panels of a row lie on one grid. Images whose title starts with
        "error" are drawn from their minimum to their maximum. All others are drawn between the
        1st and 99.5th percentiles of their values above the minimum.
    tables : mapping
        Title → rows of a table, each a mapping from column title to value.
    settings : mapping
        Title → value, shown by `chiasm.page.words.in_words`.
    overwrite : bool
        Whether an existing page is replaced.

    Raises
    ------
    CaseError
        The page exists and ``overwrite`` is False, or it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("chiasm", "page"), autoescape=True, undefined=StrictUndefined
    )
    shown = [
        {
            "title": row.title,
            "panels": [
                (name, _embedded(_drawn(name, panel, row))) for name, panel in row.panels.items()
            ],
        }
        for row in rows
    ]
    text = environment.get_template("page.html").render(
        title=title,
        lead=lead,
        rows=shown,
        tables=tables,
        settings={name: in_words(value) for name, value in settings.items()},
    )
    return files.write_text(path, text, overwrite=overwrite)


def _drawn(name: str, panel: Volume | LabelVolume | Image.Image, row: Row) -> Image.Image:
    return panel if isinstance(panel, Image.Image) else panel_picture(name, panel, _index(row))


def _index(row: Row) -> int:
    first = next(panel for panel in row.panels.values() if isinstance(panel, Volume))
    return best_slice(first)


def _embedded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def panel_picture(name: str, panel: Volume | LabelVolume, index: int) -> Image.Image:
    """One slice with the intensity window that `write_page` describes."""
    if isinstance(panel, LabelVolume):
        return slice_picture(panel, index, (0, 1))
    values = panel.array[panel.array != panel.array.min()]
    if name.startswith("error") or values.size == 0:
        return slice_picture(panel, index, (float(panel.array.min()), float(panel.array.max())))
    low, high = np.percentile(values, [1, 99.5])
    return slice_picture(panel, index, (min(0.0, float(low)), float(high)))
