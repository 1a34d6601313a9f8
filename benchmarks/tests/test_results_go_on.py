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
