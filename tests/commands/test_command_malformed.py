"""Malformed inputs end with one line each: no traceback, nothing outside the output folder."""

import faulthandler
import sys

import pytest
from command_samples import files_below

pytest.importorskip("pydicom")

from malformed_inputs import KINDS, malformed

# No input may take longer than this, in seconds; the process then ends with all stacks.
_HANG = 60
_COMMANDS = (
    ("translate", "--method", "histogram"),
    ("segment", "--segmenter"),
    ("info",),
)


def given(command, scan, out, segmenter):
    if command[0] == "info":
        return ("info", scan)
    words = [*command, segmenter] if command[-1] == "--segmenter" else [*command]
    return (*words[:1], "-i", scan, "-o", out, *words[1:], "--modality", "T1w")


def check(numbers, chiasm, tmp_path, segmenter):
    ended = {}
    for number in numbers:
        inside = tmp_path / f"{number}"
        kind, scan = malformed(number, inside)
        before = files_below(tmp_path)
        command = _COMMANDS[number // len(KINDS) % len(_COMMANDS)]
        out = tmp_path / f"out-{number}"
        faulthandler.dump_traceback_later(_HANG, exit=True, file=sys.__stderr__)
        result = chiasm(*given(command, scan, out, segmenter))
        faulthandler.cancel_dump_traceback_later()
        told = f"input {number}, {kind}, {command[0]}: {result.code}\n{result.err}"
        assert "Traceback" not in result.err, told
        assert result.code in (0, 1, 2), told
        assert "error in Chiasm" not in result.err, told
        if result.code:
            assert "legal: " in result.err, told
        for line in result.err.splitlines():
            assert line.startswith(("chiasm: ", "[")), told
        written = [name for name in files_below(tmp_path) if not name.startswith(out.name)]
        assert written == before, told
        if not list(out.rglob("*.nii*")) and not list(out.rglob("*.dcm")):
            assert result.code or command[0] == "info", told
        assert not [name for name in files_below(out) if name.endswith(("tmp", "part"))], told
        ended[kind] = ended.get(kind, set()) | {result.code}
    return ended


def test_a_hundred_malformed_inputs(chiasm, tmp_path, segmenter):
    ended = check(range(100), chiasm, tmp_path, segmenter)
    assert {*ended} == {*KINDS}
    # Each kind is refused at least once, so that the inputs are malformed indeed.
    assert all(codes & {1, 2} for codes in ended.values()), ended


@pytest.mark.long
def test_four_hundred_more(chiasm, tmp_path, segmenter):
    check(range(100, 500), chiasm, tmp_path, segmenter)
