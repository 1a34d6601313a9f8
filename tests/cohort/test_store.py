"""Rows that survive an interruption, and folders that hold another comparison."""

import json

import pytest

from chiasm.cohort.store import ROWS, SETTINGS, ResultsStore
from chiasm.errors import CaseError


def row(method, subject="sub-1", dice=0.5):
    return {"pair": "a→b", "method": method, "subject": subject, "session": "", "dice": dice}


def opened(folder, methods=("none",), slices=4, **more):
    return ResultsStore(folder, {"slices": slices}, {name: {"seed": 0} for name in methods}, **more)


def test_rows_are_there_again(tmp_path):
    store = opened(tmp_path)
    assert store.get("sub-1", "", "a→b", "none") is None
    store.add(row("none"))
    store.add(row("none", "sub-2", None))
    again = opened(tmp_path)
    assert again.get("sub-1", "", "a→b", "none") == row("none")
    assert again.get("sub-2", "", "a→b", "none") == row("none", "sub-2", None)
    assert again.get("sub-1", "ses-2", "a→b", "none") is None


def test_a_row_that_was_torn_is_made_again(tmp_path):
    store = opened(tmp_path)
    store.add(row("none"))
    whole = (tmp_path / ROWS).read_bytes()
    store.add(row("none", "sub-2"))
    (tmp_path / ROWS).write_bytes((tmp_path / ROWS).read_bytes()[:-9])
    again = opened(tmp_path)
    assert again.get("sub-2", "", "a→b", "none") is None
    assert (tmp_path / ROWS).read_bytes() == whole
    again.add(row("none", "sub-2"))
    assert [json.loads(line) for line in (tmp_path / ROWS).read_text().splitlines()] == [
        row("none"),
        row("none", "sub-2"),
    ]


def test_methods_may_be_added_and_left_out(tmp_path):
    opened(tmp_path, ["none", "mine"]).add(row("mine"))
    more = opened(tmp_path, ["none", "other"])
    assert more.get("sub-1", "", "a→b", "mine") == row("mine")
    assert set(json.loads((tmp_path / SETTINGS).read_text())["methods"]) == {
        "none", "mine", "other",
    }  # fmt: skip


def test_another_comparison_is_refused_and_left_as_it_is(tmp_path):
    opened(tmp_path).add(row("none"))
    before = (tmp_path / SETTINGS).read_bytes(), (tmp_path / ROWS).read_bytes()
    with pytest.raises(CaseError, match=r"other settings \(slices\).*--overwrite"):
        opened(tmp_path, slices=5)
    with pytest.raises(CaseError, match=r"other settings \(none\)"):
        ResultsStore(tmp_path, {"slices": 4}, {"none": {"seed": 1}})
    assert ((tmp_path / SETTINGS).read_bytes(), (tmp_path / ROWS).read_bytes()) == before
    anew = opened(tmp_path, slices=5, overwrite=True)
    assert anew.get("sub-1", "", "a→b", "none") is None
    assert not (tmp_path / ROWS).exists()


@pytest.mark.parametrize(("name", "text"), [(SETTINGS, "{"), (SETTINGS, "[]"), (ROWS, "{}\n")])
def test_damaged_files_are_named(tmp_path, name, text):
    opened(tmp_path).add(row("none"))
    (tmp_path / name).write_text(text)
    with pytest.raises(CaseError, match=f"{name}: is damaged"):
        opened(tmp_path)
