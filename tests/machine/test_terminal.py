"""Names that a terminal cannot print, and reports that hold them."""

import io
import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.machine import terminal
from chiasm.scoring import evaluate

ODD = os.fsdecode("k\xe9pi-\u8133".encode() + b"-\xe9_T1w.nii.gz")  # UTF-8, then a latin-1 é


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_cannot_be_encoded_is_escaped(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal.say(f"see {ODD}", stream)
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert text.startswith("see k")
    assert "\\udce9_T1w.nii.gz\n" in text
    assert ("脳" in text) == (encoding == "utf-8")


@pytest.fixture
def pair(tmp_path):
    path = tmp_path / ODD
    try:
        path.touch()
    except (OSError, UnicodeError):
        pytest.skip("the file system has no such names")
    array = np.random.default_rng(0).normal(100, 20, (20, 22, 9)).astype(np.float32)
    image = nib.Nifti1Image(array, np.eye(4))
    # nibabel cannot open such a name itself on every system, so the bytes are written here.
    import gzip

    path.write_bytes(gzip.compress(image.to_bytes()))
    return path


def run(*arguments, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "chiasm", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict", "utf-8"])
def test_a_command_prints_json_of_a_file_with_such_a_name(pair, tmp_path, encoding):
    report = tmp_path / "r.json"
    given = ("--pred", pair, "--truth", pair, "--json", report)
    done = run("evaluate", *given, encoding=encoding)
    assert done.returncode == 0, done.stderr
    for text in (done.stdout.decode("ascii"), report.read_text("utf-8")):
        assert json.loads(text)["image"]["mae"] == 0
        assert "k\u00e9pi-\u8133" in json.loads(text)["pred"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict", "utf-8"])
def test_an_error_names_such_a_file_in_one_line(pair, encoding):
    missing = pair.with_name("missing-" + ODD)
    done = run("segment", "-i", missing, "-o", pair.parent / "out", encoding=encoding)
    assert done.returncode == 1
    assert b"does not exist" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_report_with_such_a_name_is_written_and_read_back(tmp_path):
    content = {"input": ODD}
    path = files.write_text(tmp_path / "r.json", json.dumps(content, ensure_ascii=False))
    assert json.loads(path.read_text("utf-8")) == content


def test_scores_of_such_a_file_can_be_dumped(pair):
    result = evaluate(pair, pair)
    assert json.loads(result.model_dump_json())["pred"] == result.pred
    assert result.pred.endswith("\\udce9_T1w.nii.gz")
