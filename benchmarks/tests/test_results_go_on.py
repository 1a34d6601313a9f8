"""A benchmark goes on from the rows that it has written, if they are of the same settings."""

import pytest

import aldm
import harness


@pytest.fixture(autouse=True)
def _results(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)


def test_rows_of_the_same_settings_are_taken():
    settings, rows = {"pairs": (1, 2), "steps": None}, [{"subject": "a", "psnr": 20.5}]
    assert harness.rows_before("some", settings) == []
    harness.save("some", settings, [], rows)
    assert harness.rows_before("some", settings) == rows
    assert harness.rows_before("some", settings | {"steps": 3}) == []
    assert harness.rows_before("other", settings) == []


def test_other_weights_and_options_are_other_settings():
    name, own = aldm.named_weights("a method=brain-t1,brain-t1-lmi@steps=3")
    assert name == "a method"
    first, second, option = own
    assert first.startswith("brain-t1 ")
    assert second.startswith("brain-t1-lmi ")
    assert first.split()[1] != second.split()[1]
    assert option == "steps=3"
    assert aldm.named_weights("a method=brain-t1") == ("a method", [first])


def row(subject, method, dice):
    return {"set": "a", "subject": subject, "pair": "T2w→T1w", "method": method, "dice": dice}


def test_one_method_is_measured_anew():
    """Its rows are replaced at their places; cases that were not scored now are left out."""
    before = [row(s, m, 0.1) for s in ("1", "2") for m in ("none", "old", "real")]
    harness.save("some", {}, [], before)
    fresh = [row("1", "none", 0.5), row("1", "new", 0.6)]
    made = harness.with_rows_before("some", fresh)
    assert [(one["method"], one["dice"]) for one in made] == [
        ("none", 0.5),
        ("old", 0.1),
        ("real", 0.1),
        ("new", 0.6),
    ]
    assert {one["subject"] for one in made} == {"1"}
    assert harness.with_rows_before("other", fresh) == fresh


def test_sets_that_were_not_scored_can_stay():
    other = row("1", "none", 0.1) | {"set": "b"}
    harness.save("some", {}, [], [row("1", "none", 0.1), row("2", "none", 0.1), other])
    fresh = [row("1", "none", 0.5)]
    assert harness.with_rows_before("some", fresh) == fresh
    assert harness.with_rows_before("some", fresh, keep_sets=True) == [*fresh, other]


def test_other_methods_of_a_case_can_be_left_out():
    old = row("1", "old", 0.1)
    harness.save("some", {}, [], [row("1", "none", 0.1), old])
    fresh = [row("1", "none", 0.5)]
    assert harness.with_rows_before("some", fresh) == [*fresh, old]
    assert harness.with_rows_before("some", fresh, keep_methods=False) == fresh
