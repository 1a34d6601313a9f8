"""Every measured figure of the documentation is that of benchmarks/results/*.json."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import results  # noqa: E402

PROSE = sorted([*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md"), *DOCS.glob("methods/*.md")])


def summary(name: str) -> list[dict]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["summary"]


def cells(text: str) -> list[list[str]]:
    """The rows of all Markdown tables of a text, without the rules below their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set(":- ")]


def number(text: str) -> float:
    return float(text.split(" ")[0].replace("−", "-"))


def interval(text: str) -> list[float]:
    return [float(end) for end in re.findall(r"-?[\d.]+", text.replace("−", "-"))[1:]]


def test_every_results_file_has_a_page_and_only_those(tmp_path: Path) -> None:
    results.write_pages(tmp_path / "pages")
    names = {path.stem for path in (tmp_path / "pages").glob("*.md")} - {"index"}
    assert names == {path.stem for path in RESULTS.glob("*.json")}


@pytest.mark.parametrize("name", ["fidelity", "real", "phantom", "aldm", "aldm_real"])
def test_a_page_shows_the_means_and_intervals_of_its_file(name: str) -> None:
    (page,) = (one for one in results.PAGES if one.name == name)
    parts = re.split(r"^### (.*)$", results.page(page), flags=re.M)
    by_pair = dict(zip(parts[1::2], parts[2::2], strict=True))
    checked = 0
    for row in summary(name):
        if not by_pair:  # one table, whose first column is the pair
            head, *lines = cells(parts[0])
            head, lines = head[1:], [line[1:] for line in lines if line[0] == row["pair"]]
        else:
            head, *lines = cells(by_pair[row["pair"]])
        shown = {line[0]: line for line in lines}[results.method_name(row["method"])]
        for key, title, digits in (("psnr", "PSNR, dB", 1), ("dice", "Dice, mean", 3)):
            if row.get(key) is None:
                continue
            text = shown[head.index(title)]
            assert number(text) == pytest.approx(row[key]["mean"], abs=0.51 * 10**-digits)
            if row[key].get("interval"):
                assert interval(text) == pytest.approx(row[key]["interval"], abs=0.51 * 10**-digits)
            else:
                assert interval(text) == []
            checked += 1
    assert checked >= len(summary(name))


def test_a_figure_of_a_sentence_is_the_value_of_its_row() -> None:
    (row,) = (
        row
        for row in summary("fidelity")
        if (row["pair"], row["method"]) == ("FLAIR→T1w", "regression")
    )
    assert results.figure("fidelity/FLAIR→T1w/regression/psnr") == f"{row['psnr']['mean']:.1f}"
    low, high = row["gap_closed"]["interval"]
    expected = f"{row['gap_closed']['mean']:.2f} [{low:.2f}, {high:.2f}]"
    assert results.figure("fidelity/FLAIR→T1w/regression/gap_closed/interval") == expected


def test_a_range_is_that_of_all_pairs() -> None:
    lines = json.loads((RESULTS / "uncertainty.json").read_text(encoding="utf-8"))["summary"]
    found = [row["auroc"] for row in lines["uncertainty"] if row["method"] == "regression"]
    expected = f"{100 * min(found):.0f} to {100 * max(found):.0f}"
    assert results.figure("uncertainty/uncertainty/*/regression/auroc/%") == expected


@pytest.mark.parametrize(
    "path",
    [
        "fidelity/PDw→T1w/no such method/psnr",
        "fidelity/T9w→T1w/regression/psnr",
        "fidelity/PDw→T1w/regression/no_such_column",
        "fidelity/settings/no_such_setting",
    ],
)
def test_a_figure_that_was_not_measured_is_refused(path: str) -> None:
    with pytest.raises(LookupError):
        results.figure(path)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.stem)
def test_every_figure_that_a_page_names_was_measured(page: Path) -> None:
    for path in re.findall(r"\{result\}`([^`]+)`", page.read_text(encoding="utf-8")):
        assert results.figure(path), path


@pytest.mark.parametrize("path", list(results.tables()), ids=lambda path: path.parent.name)
def test_the_tables_of_readme_and_cards_are_those_of_the_results(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for marker, content in results.tables()[path].items():
        assert results.replaced(text, marker, content) == text, "run: python docs/results.py"


def test_the_readme_has_six_rows_whose_numbers_are_in_the_json() -> None:
    head, *rows = cells((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(rows) == len(results.README_ROWS) == 6
    for row, (_, name, pair, method) in zip(rows, results.README_ROWS, strict=True):
        (line,) = (r for r in summary(name) if r["pair"] == pair and r["method"] == method)
        found = dict(zip(head, row, strict=True))
        for title, key, half in (
            ("PSNR, dB", "psnr", 0.051),
            ("Dice", "dice", 0.00051),
            ("G", "gap_closed", 0.0051),
            ("s per slice", "seconds_per_slice", 0.0051),
        ):
            assert number(found[title]) == pytest.approx(line[key]["mean"], abs=half)


def test_the_readme_is_short_and_names_the_first_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) < 1200
    assert text.index("make demo") < text.index("make test") < text.index("make docs")


def plain_prose(text: str) -> str:
    """Without what may hold numbers that nobody measured: code, equations, links, citations."""
    for pattern in (
        r"^```.*?^```",
        r"<!-- table .*?<!-- end -->",
        r"\$\$.*?\$\$",
        r"\$[^$]+\$",
        r"`[^`]+`",
        r"\]\([^)]*\)",
        r"arXiv \d+\.\d+",
        r"Apache-2\.0",
        r"Python \d+\.\d+",
        r"95 %\s+bootstrap",
    ):
        text = re.sub(pattern, " ", text, flags=re.S | re.M)
    return text


@pytest.mark.parametrize("path", [*PROSE, ROOT / "README.md"], ids=lambda path: path.stem)
def test_no_measured_figure_is_typed_by_hand(path: Path) -> None:
    text = plain_prose(path.read_text(encoding="utf-8"))
    assert re.findall(r"\d+\.\d+|\d+ ?%|\d+ (?:dB|seconds?|minutes?)\b", text) == []


def test_the_check_for_typed_figures_can_fail() -> None:
    assert re.findall(r"\d+\.\d+", plain_prose("Dice rose to 0.85, see `0.1` and $0.2$.")) == [
        "0.85"
    ]
