"""Rows summed up: against means, ratios and tests made by hand."""

import numpy as np
import pytest

from chiasm.comparison.summary import summarise
from chiasm.scoring.statistics import bootstrap_interval, gap_closure_interval, paired_test

DICE = {
    "none": [0.20, 0.25, 0.22, 0.30],
    "a": [0.60, 0.70, 0.65, 0.55],
    "b": [0.80, 0.75, 0.85, 0.70],
    "real": [0.90, 0.85, 0.95, 0.90],
}


def row(method, subject, dice, pair="PDw→T1w", **more):
    return {"pair": pair, "method": method, "subject": subject, "session": "", "dice": dice} | more


@pytest.fixture
def rows():
    return [
        row(method, f"sub-{k}", value, seconds=2.0 * k, trained_on=f"T1w for {method}")
        for method, values in DICE.items()
        for k, value in enumerate(values)
    ]


def by_method(rows):
    return {line["method"]: line for line in summarise(rows, ceiling="real")}


def test_means_intervals_and_costs(rows):
    lines = by_method(rows)
    assert list(lines) == list(DICE)
    for method, values in DICE.items():
        line = lines[method]
        assert (line["pair"], line["subjects"]) == ("PDw→T1w", 4)
        assert line["trained_on"] == f"T1w for {method}"
        assert line["dice"]["mean"] == pytest.approx(sum(values) / 4)
        assert line["dice"]["interval"] == list(bootstrap_interval(values))
        assert line["seconds"] == {"mean": 3.0}


def test_the_gap_is_a_ratio_of_means(rows):
    lines = by_method(rows)
    floor, ceiling = (sum(DICE[name]) / 4 for name in ("none", "real"))
    for method in ("a", "b"):
        gap = lines[method]["gap_closed"]
        assert gap["mean"] == pytest.approx((sum(DICE[method]) / 4 - floor) / (ceiling - floor))
        expected = gap_closure_interval(DICE[method], DICE["none"], DICE["real"])
        assert gap["interval"] == list(expected)
        assert gap["interval"][0] < gap["mean"] < gap["interval"][1]
    assert lines["none"]["gap_closed"] == {"mean": 0.0, "interval": [0.0, 0.0]}
    assert lines["real"]["gap_closed"] == {"mean": 1.0, "interval": [1.0, 1.0]}


def test_every_method_is_tested_against_the_best_but_not_the_ceiling(rows):
    lines = by_method(rows)
    assert [method for method, line in lines.items() if line["best"]] == ["b"]
    assert "against_best" not in lines["b"]
    assert "against_best" not in lines["real"]
    test = paired_test(DICE["a"], DICE["b"])
    assert lines["a"]["against_best"] == {
        "difference": test.difference,
        "interval": [test.low, test.high],
        "p": test.p_value,
        "subjects": 4,
    }


def test_sessions_of_a_subject_count_once(rows):
    twice = [*rows, row("a", "sub-0", 0.40) | {"session": "ses-2"}]
    line = by_method(twice)["a"]
    each = [0.50, 0.70, 0.65, 0.55]  # (0.6 + 0.4) / 2
    assert line["subjects"] == 4
    assert line["dice"]["mean"] == pytest.approx(np.mean(each))
    assert line["dice"]["interval"] == pytest.approx(bootstrap_interval(each))


def test_a_subject_that_a_method_failed_on_is_left_out_of_its_gap(rows):
    without = [one for one in rows if (one["method"], one["subject"]) != ("a", "sub-3")]
    line = by_method(without)["a"]
    assert line["subjects"] == 3
    floor, ceiling = (sum(DICE[name][:3]) / 3 for name in ("none", "real"))
    expected = (sum(DICE["a"][:3]) / 3 - floor) / (ceiling - floor)
    assert line["gap_closed"]["mean"] == pytest.approx(expected)
    assert line["against_best"]["subjects"] == 3


def test_pairs_do_not_mix(rows):
    other = [one | {"pair": "T2w→T1w", "dice": one["dice"] / 2} for one in rows]
    lines = summarise(rows + other, ceiling="real")
    assert [line["pair"] for line in lines] == ["PDw→T1w"] * 4 + ["T2w→T1w"] * 4
    assert lines[5]["dice"]["mean"] == pytest.approx(lines[1]["dice"]["mean"] / 2)


def test_what_is_not_there_is_none_and_what_was_missed_is_no_mean():
    rows = [
        row("a", "sub-0", 0.5, psnr=None, hd95=3.0, dice_csf=None),
        row("a", "sub-1", 0.7, psnr=None, hd95=None, dice_csf=0.4),
    ]
    (line,) = summarise(rows, ceiling="real")
    assert "psnr" not in line
    assert line["hd95"] == {"mean": None}
    assert line["dice_csf"] == {"mean": 0.4}
    assert line["gap_closed"] is None


def test_one_subject_has_no_interval(rows):
    one = [each for each in rows if each["subject"] == "sub-0"]
    line = by_method(one)["a"]
    assert line["dice"] == {"mean": 0.6}
    assert line["gap_closed"] == {"mean": pytest.approx(0.4 / 0.7)}
    assert line["against_best"]["interval"] is None
