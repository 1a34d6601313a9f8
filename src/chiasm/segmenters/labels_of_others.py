"""Label maps that other programs and networks made: their names, and their way onto the scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chiasm.errors import CaseError, explain
from chiasm.files.label_table import nameless
from chiasm.image.orientation import Turn
from chiasm.image.resample import resample_onto
from chiasm.image.volume import Label, LabelVolume, Volume


def labels_from(names: Mapping[int, str]) -> tuple[Label, ...]:
    """Labels with these names, sorted by their value. Each gets a colour of its own."""
    known = {0: "background"} | dict(names)
    return tuple(replace(nameless(value), name=known[value]) for value in sorted(known))


def named(found: LabelVolume, known: Sequence[Label]) -> LabelVolume:
    """A label map whose table has the known labels, and the others as it has them itself."""
    table = {one.value: one for one in (*found.labels, *known)}
    return replace(found, labels=tuple(table[value] for value in sorted(table)))


def placed(
    found: LabelVolume, scan: Volume, name: str, argument: str = "--segmenter"
) -> tuple[LabelVolume, bool]:
    """A label map on the grid of the scan, and whether it was resampled for that.

    Raises
    ------
    CaseError
        None of its structures lies in the scan.
    """
    turn = Turn.of(scan)
    turned = Turn.of(found).image(found)
    if turned.same_grid(turn.image(scan)):
        return turn.image_back(turned, scan), False
    onto = resample_onto(found, scan)
    if found.array.any() and not onto.array.any():
        problem = f"made labels that lie outside the scan ({found!r})"
        legal = f"labels in the scanner space of the scan, {scan!r}"
        raise CaseError(explain(argument, name, problem, legal))
    return onto, True
