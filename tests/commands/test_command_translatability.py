"""A scan that a model will hardly translate is told beforehand."""

import json
import shutil

import pytest

from chiasm.api import load_translator
from chiasm.files import read
from chiasm.methods.translatability import translatability


@pytest.fixture
def knowing(regression, tmp_path):
    """The tiny translator, in a folder of its own whose config says which score is a good one."""

    def make(least):
        folder = shutil.copytree(regression, tmp_path / f"from-{least}")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"translatable_from": least}))
        return folder

    return make


@pytest.mark.parametrize("command", ["translate", "run"])
def test_a_low_score_is_a_warning_and_stays_in_the_report(
    chiasm, command, scan, out, knowing, segmenter
):
    model, report = knowing(1.0), out / "report.json"
    more = ("--segmenter", segmenter) if command == "run" else ()
    result = chiasm(command, "-i", scan, "-o", out, "--model", model, *more, "--report", report)
    assert result.code == 0
    (line,) = result.err.splitlines()
    assert line.startswith(f"chiasm: warning: {scan}: The translatability ")
    (case,) = json.loads(report.read_text())["cases"]
    expected = translatability(read(scan), load_translator(model))
    assert case["translatability"] == expected.model_dump(mode="json")
    assert f"The translatability of this scan is {expected.score:.2f}." in line


def test_a_score_that_is_good_enough_is_only_recorded(chiasm, scan, out, knowing):
    report = out / "report.json"
    given = ("-i", scan, "-o", out, "--model", knowing(0.0), "--report", report)
    result = chiasm("translate", *given)
    assert (result.code, result.err) == (0, "")
    assert json.loads(report.read_text())["cases"][0]["translatability"]["score"] >= 0


@pytest.mark.parametrize("method", ["histogram", "none"])
def test_a_method_without_a_network_has_no_score(chiasm, method, scan, out, knowing):
    report = out / "report.json"
    given = ("-i", scan, "-o", out, "--model", knowing(1.0), "--report", report)
    result = chiasm("translate", *given, "--method", method)
    assert (result.code, result.err) == (0, "")
    assert "translatability" not in json.loads(report.read_text())["cases"][0]
