"""Rows of scores summarised over subjects: means, intervals, gap closed and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chiasm.errors import UsageError
from chiasm.scoring.statistics import (
    bootstrap_interval,
    gap_closure,
    gap_closure_interval,
    paired_test,
)

_NAMES = ("pair", "method", "subject", "session")
_COSTS = ("seconds", "seconds_per_slice", "memory_mb")  # have no interval over subjects
_DISTANCES = ("hd95", "assd")  # None stands for infinite: a structure was missed
_PRIMARY = "dice"


def summarise(
    rows: Sequence[Mapping[str, Any]], *, ceiling: str, floor: str = "none"
) -> list[dict[str, Any]]:
    """Summarise rows to one line for each pair and method, in the order of the rows.

    Sessions of a subject are averaged first, so that every interval and test is over subjects.

    Parameters
    ----------
    rows : sequence of mappings
        The rows of `chiasm.comparison.score.score`. Every number in them is summarised.
    ceiling, floor : str
        The methods at which the gap is closed (1) and open (0).

    Returns
    -------
    list of dict
        Each line has these keys:

        - ``pair``, ``method``, ``subjects``, and ``trained_on`` if the rows have it;
        - for each score ``{"mean", "interval"}``. The interval is a 95 % BCa bootstrap interval
          over subjects; costs and single subjects have none. A mean distance is None if a
          structure was missed;
        - ``gap_closed``, in the same form: the gap closure of the means (`gap_closure`). It is
          None without floor or ceiling;
        - ``best``: whether its Dice is the highest, not counting the ceiling;
        - ``against_best``: the paired test of its Dice against that of the best method
          (`paired_test`), with ``difference``, ``interval``, ``p`` and ``subjects``.
    """
    lines = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        by_method: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["pair"] == pair:
                by_method.setdefault(row["method"], []).append(row)
        dice = {method: _per_subject(own, _PRIMARY) for method, own in by_method.items()}
        best = _best({method: one for method, one in dice.items() if method != ceiling})
        for method, own in by_method.items():
            line = _line(pair, method, own)
            line["gap_closed"] = _gap(dice, method, floor, ceiling)
            line["best"] = method == best
            if best is not None and method not in (best, ceiling):
                line["against_best"] = _against(dice[method], dice[best])
            lines.append(line)
    return lines


def _line(pair: str, method: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    subjects = len({row["subject"] for row in rows})
    line: dict[str, Any] = {"pair": pair, "method": method, "subjects": subjects}
    if "trained_on" in rows[0]:
        line["trained_on"] = rows[0]["trained_on"]
    for key in dict.fromkeys(key for row in rows for key in row if key not in _NAMES):
        values = [row.get(key) for row in rows]
        if not any(isinstance(value, int | float) for value in values):
            continue
        if key in _DISTANCES and None in values:
            line[key] = {"mean": None}
            continue
        each = list(_per_subject(rows, key).values())
        line[key] = {"mean": float(np.mean(each))}
        if key not in _COSTS and len(each) > 1:
            line[key]["interval"] = _known(bootstrap_interval(each))
    return line


def _per_subject(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    """The score of each subject that has one, averaged over its sessions."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.get(key) is not None:
            values.setdefault(row["subject"], []).append(row[key])
    return {subject: float(np.mean(several)) for subject, several in values.items()}


def _best(dice: Mapping[str, Mapping[str, float]]) -> str | None:
    means = {method: np.mean(list(own.values())) for method, own in dice.items() if own}
    return max(means, key=lambda method: means[method]) if means else None


def _gap(
    dice: Mapping[str, Mapping[str, float]], method: str, floor: str, ceiling: str
) -> dict[str, Any] | None:
    """Gap closure over the subjects that method, floor and ceiling share; None without a gap."""
    compared = [dice.get(name, {}) for name in (method, floor, ceiling)]
    common = [subject for subject in compared[0] if all(subject in one for one in compared)]
    if not common:
        return None
    scores = [[one[subject] for subject in common] for one in compared]
    try:
        gap: dict[str, Any] = {"mean": gap_closure(*(float(np.mean(one)) for one in scores))}
    except UsageError:  # floor and ceiling are equal
        return None
    if len(common) > 1:
        gap["interval"] = _known(gap_closure_interval(*scores))
    return gap


def _known(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if np.isfinite(interval).all() else None


def _against(dice: Mapping[str, float], best: Mapping[str, float]) -> dict[str, Any]:
    common = [subject for subject in dice if subject in best]
    test = paired_test([dice[one] for one in common], [best[one] for one in common])
    return {
        "difference": test.difference if test.subjects else None,
        "interval": _known((test.low, test.high)),
        "p": test.p_value if test.subjects else None,
        "subjects": test.subjects,
    }
