"""The table of names and colours beside a label map (BIDS, ``_dseg.tsv``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from chiasm.errors import CaseError, explain
from chiasm.image.volume import Label

# Colours for structures without a colour (Paul Tol's "bright" scheme for colour-blind readers).
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


def nameless(value: int) -> Label:
    """The label of a value that no table names: ``label-<value>``, with a colour of its own."""
    if value == 0:
        return Label(0, "background", "#000000")
    return Label(value, f"label-{value}", _COLOURS[(value - 1) % len(_COLOURS)])


def read_table(path: Path) -> tuple[Label, ...]:
    """The labels of a table; one without the columns index and name raises `CaseError`."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig")), delimiter="\t"))
        return tuple(
            Label(
                int(row["index"]),
                row["name"],
                row.get("color") or nameless(int(row["index"])).colour,
            )
            for row in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        legal = "tab-separated columns index, name and color (BIDS, _dseg.tsv)"
        raise CaseError(explain("table", path, "is not a table of labels", legal)) from error


def table_text(labels: Sequence[Label]) -> str:
    """The table of these labels, with the columns index, name and color."""
    rows = [f"{label.value}\t{label.name}\t{label.colour}\n" for label in labels]
    return "index\tname\tcolor\n" + "".join(rows)
