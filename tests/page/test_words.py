"""The page and the tables of a comparison hold words and units, and no notation of code."""

import html
import re

import pytest

from chiasm.comparison.outputs import print_tables, write_all
from chiasm.page.words import in_words, structure_title

NAMES = ("none", "mine", "own", "real T1w")


def score(value):
    return {"mean": value, "interval": [value - 0.1, value + 0.1]}


def line(method):
    return {
        "pair": "PDw→T1w",
        "method": method,
        "subjects": 3,
        "trained_on": "T1w, 48 subjects, 200 iterations",
        **{key: score(0.5) for key in ("psnr", "ssim", "mae", "dice", "assd", "slice_jump")},
        "dice_csf": score(0.6),
        "dice_label-4": score(0.7),
        "hd95": {"mean": None},
        **{key: {"mean": 2.0} for key in ("seconds", "seconds_per_slice", "memory_mb")},
        "gap_closed": score(0.5),
        "best": method == "mine",
        "against_best": {"difference": -0.1, "interval": [-0.2, 0.0], "p": 0.03, "subjects": 3},
    }


RESULT = {
    "chiasm": "0.1.0",
    "settings": {
        "input": "brains",
        "target": "T1w",
        "segmenter": {"name": "brain-t1-tissue", "model": "brain-t1-tissue 0123abcd"},
        "slices": 4,
        "reference": "label maps",
        "sources": ["PDw", "T2w"],
        "seed": 0,
        "batch": 8,
        "device": "auto",
        "image scores": "computed in the foreground",
        "foreground": "found on the source",
        "seconds": "of translating a volume",
        "memory": "resident memory of the process, its peak during the call (VmHWM)",
    },
    "versions": {"python": "3.11.7", "scikit-image": "0.26.0"},
    "methods": {
        "none": {"method": "none", "model": "brain-t1 4567cdef"},
        "mine": {
            "method": "sdedit",
            "model": "mine 89abef01",
            "edit_from": 0.25,
            "detail": False,
            "scheduler": None,
        },
        "own": {"segmenter": {"name": "own", "model": "own 23456789"}},
    },
    "summary": [line(name) for name in NAMES],
    "rows": [],
    "warnings": ["sub-01, PDw→T1w: The mask was resampled."],
    "left_out": [],
    "failed": [],
}
# A name with an underscore, the braces, quotes and words of Python, and an uppercase function name.
CODE = re.compile(r"\w*_\w+|[{}']|\bNone\b|\bTrue\b|\bFalse\b|VmHWM")


def visible(page):
    """The text that a reader of the page sees."""
    body = page.split("</style>")[1]
    return html.unescape(re.sub(r"<[^>]*>", "\n", body))


@pytest.fixture
def text(tmp_path):
    write_all(tmp_path, RESULT, [])
    return visible((tmp_path / "report.html").read_text())


def test_the_page_holds_no_code(text):
    assert CODE.findall(text) == []
    assert CODE.findall("{'name': 'a_b'}")  # the search finds code


def test_settings_are_readable_lines(text):
    for said in (
        "4 evenly spaced axial slices",
        "segmenter brain-t1-tissue.",
        "sdedit, model mine 89abef01, edit from: 0.25, detail: no",
        "segments the source itself, own, model own 23456789",
        "PDw, T2w",
        "resident memory of the process, its peak during the call",
        "python 3.11.7, scikit-image 0.26.0",
    ):
        assert said in text


def test_titles_are_words_with_units(text):
    for title in ("PSNR, dB", "HD95, mm", "Time per slice, s", "Peak memory, MiB", "Dice, CSF"):
        assert f"\n{title}\n" in text
    assert "\nDice, label 4\n" in text
    assert "∞" in text  # a structure was missed


def test_the_terminal_shows_the_same_words(capsys):
    print_tables(RESULT)
    shown = capsys.readouterr().out
    assert CODE.findall(shown) == []
    assert "PDw→T1w: accuracy, 3 subjects" in shown
    assert "mine (best)" in shown


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.25, "0.25"),
        (None, "not given"),
        (True, "yes"),
        (["a", 2], "a, 2"),
        ({"edit_from": 1.0, "name": "x"}, "edit from: 1, name: x"),
    ],
)
def test_values_in_words(value, words):
    assert in_words(value) == words


def test_structures_in_titles():
    assert [structure_title(name) for name in ("csf", "grey", "label-7")] == [
        "CSF",
        "grey",
        "label 7",
    ]
