"""Pictures and tables on one page that needs no other file."""

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
from chiasm.head import head_mask
from chiasm.volume import LabelVolume, Volume


@dataclass(frozen=True)
class Row:
    """One row of pictures: a case, and its panels by title in the order shown.

    A panel is a volume, of which the fullest axial slice is drawn, or a picture drawn already.
    """

    title: str
    panels: Mapping[str, Volume | LabelVolume | Image.Image]


def slice_picture(
    image: Volume | LabelVolume, index: int, shown: tuple[float, float]
) -> Image.Image:
    """One axial slice as a picture, radiological display (patient's right on the left).

    Parameters
    ----------
    image : Volume or LabelVolume
        Any orientation; it is turned to the closest axes.
    index : int
        Of the slice, counted upwards in the turned volume.
    shown : (float, float)
        Intensities drawn black and white; not used for labels.
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
    """The axial slice that shows most of the head, which is found if it is not given."""
    mask = head_mask(image) if mask is None else mask
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
    """Write the page; pictures are embedded.

    Parameters
    ----------
    path : Path
    title, lead : str
        Heading, and the paragraph under it.
    rows : sequence of Row
        Of pictures; every panel of a row lies on one grid. Images whose title starts with
        "error" are drawn from their own minimum to maximum, the others between the 1st and 99.5th
        percentiles of what is not background.
    tables : mapping
        Title → rows, each a mapping from column to value.
    settings : mapping
        Shown as they are.
    """
    environment = Environment(
        loader=PackageLoader("chiasm", "report"), autoescape=True, undefined=StrictUndefined
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
        title=title, lead=lead, rows=shown, tables=tables, settings=settings
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
    """One slice, windowed as the panel's title asks for; see `write_page`."""
    if isinstance(panel, LabelVolume):
        return slice_picture(panel, index, (0, 1))
    values = panel.array[panel.array != panel.array.min()]
    if name.startswith("error") or values.size == 0:
        return slice_picture(panel, index, (float(panel.array.min()), float(panel.array.max())))
    low, high = np.percentile(values, [1, 99.5])
    return slice_picture(panel, index, (min(0.0, float(low)), float(high)))
