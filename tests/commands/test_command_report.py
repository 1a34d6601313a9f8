"""`--report`: what was done is recorded, whatever happens, and can be done again from it."""

import html
import json
from importlib.metadata import version

import numpy as np
import pytest
from command_samples import SHAPE, brain, files_below, load, save_nifti

from chiasm import models
from chiasm.cohort import run as cohort_run
from chiasm.methods.regression.translator import Regression


def flags(options):
    """The words of a command line that give these options."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if value is None:
            continue
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else []
        words += [] if isinstance(value, bool) else [f"--{flag}", value]
    return words


def test_it_records_what_decides_the_result(chiasm, scan, out, tmp_path, regression, segmenter):
    mask = save_nifti(tmp_path / "brain.nii.gz", (brain() > 0).astype(np.uint8))
    report = tmp_path / "report.json"
    words = (
        *("run", "-i", scan, "-o", out, "--model", regression, "--segmenter", segmenter),
        *("--mask", mask, "--modality", "T2", "--planes", "axial", "--detail", "--batch", 2),
        *("--report", report, "--device", "cpu"),
    )
    assert chiasm(*words).code == 0
    content = json.loads(report.read_text())
    assert content["finished"] is True
    assert (content["failed"], content["left_out"]) == ([], [])
    assert content["chiasm"] == version("chiasm")
    for library in ("torch", "monai", "diffusers", "numpy"):
        assert content["versions"][library] == version(library)
    asked = content["settings"]
    expected = {
        "input": [str(scan)], "output": str(out), "modality": "T2w", "mask": str(mask),
        "spacing": None, "batch": 2, "device": "cpu",
    }  # fmt: skip
    assert {key: asked[key] for key in expected} == expected
    (case,) = content["cases"]
    assert (case["target"], case["modality"], case["method"]) == ("T1w", "T2w", "regression")
    assert case["foreground"] == str(mask)
    assert case["options"] == {
        "detail": True, "planes": "axial", "samples": 1, "seed": None, "iterations": None,
    }  # fmt: skip
    assert case["model"] == models.load(regression, kind="translator").fingerprint
    assert case["segmenter"]["model"] == models.load(segmenter, kind="segmenter").fingerprint
    assert case["warnings"] == []
    assert case["translation"]["orientation"] == "RAS"


def test_the_fingerprint_is_that_of_the_weights(chiasm, scan, out, tmp_path, regression):
    import shutil

    from safetensors.torch import load_file, save_file

    other = shutil.copytree(regression, tmp_path / "copied" / regression.name)
    told = []
    for turn in range(2):
        report = tmp_path / f"{turn}.json"
        given = ("-i", scan, "-o", out / str(turn), "--model", other, "--report", report)
        assert chiasm("translate", *given).code == 0
        told.append(json.loads(report.read_text())["cases"][0]["model"])
        weights = load_file(other / "model.safetensors")
        first = next(iter(weights))
        save_file(weights | {first: weights[first] + 1e-3}, other / "model.safetensors")
    assert told[0] == models.load(regression, kind="translator").fingerprint
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("diffusion", ["--seed", 7, "--steps", 2, "--guidance", 0.5, "--noise", "shared"]),
        ("diffusion", ["--seed", 7, "--steps", 2, "--estimate", "brain-t1"]),
        ("diffusion", ["--method", "sdedit", "--edit-from", 0.4, "--scheduler", "ddpm"]),
        ("regression", ["--samples", 2, "--seed", 5]),
    ],
)
def test_what_it_says_can_be_run_again(chiasm, kind, words, request, scan, out, tmp_path):
    """Seed, options and modality are read from the report alone; the bytes are the same."""
    model, report = request.getfixturevalue(kind), tmp_path / "report.json"
    given = ("-i", scan, "-o", out / "first", "--model", model, "--modality", "FLAIR")
    assert chiasm("translate", *given, *words, "--report", report).code == 0
    content = json.loads(report.read_text())
    asked, (case,) = content["settings"], content["cases"]
    assert case["model"].split("+")[0] == models.load(model, kind="translator").fingerprint
    again = (
        *("translate", "-i", case["input"], "-o", out / "again", "--model", model),
        *("--method", case["method"], "--to", case["target"], "--modality", asked["modality"]),
        *("--batch", asked["batch"], "--device", asked["device"]),
        *flags(case["options"]),
    )
    assert chiasm(*again).code == 0
    names = files_below(out / "first")
    assert names
    assert files_below(out / "again") == names
    for name in names:
        assert (out / "again" / name).read_bytes() == (out / "first" / name).read_bytes()


def test_an_unseeded_diffusion_records_the_seed_that_was_used(chiasm, scan, out, diffusion):
    report = out / "report.json"
    given = ("translate", "-i", scan, "--model", diffusion)
    assert chiasm(*given, "-o", out / "a.nii.gz", "--report", report).code == 0
    seed = json.loads(report.read_text())["cases"][0]["translation"]["seed"]
    assert chiasm(*given, "-o", out / "b.nii.gz", "--seed", seed).code == 0
    np.testing.assert_array_equal(load(out / "a.nii.gz"), load(out / "b.nii.gz"))


class Fatal(Exception):
    """An error that no code foresees."""


@pytest.fixture
def three(tmp_path):
    """Three scans, the second of another size than the others."""
    for number, shape in enumerate((SHAPE, (26, 30, 7), SHAPE)):
        save_nifti(tmp_path / "in" / f"sub-0{number}_PDw.nii.gz", brain(shape, seed=number))
    return tmp_path / "in"


@pytest.fixture
def raises_in_the_second(monkeypatch):
    """Make the translation of the scan of another size raise."""

    def prepare(error):
        original = Regression.translate_canonical

        def translate(self, volume, mask):
            if volume.shape == (26, 30, 7):
                raise error
            return original(self, volume, mask)

        monkeypatch.setattr(Regression, "translate_canonical", translate)

    return prepare


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "does not fit the memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"), "does not fit the memory"),
        (RuntimeError("the sizes differ"), "RuntimeError: the sizes differ"),
        (Fatal("two\nlines"), "Fatal: two lines"),
        (ZeroDivisionError(), "ZeroDivisionError: no message"),
    ],
)
def test_an_error_of_one_scan_ends_no_other(
    chiasm, three, out, tmp_path, regression, raises_in_the_second, error, said
):
    raises_in_the_second(error)
    report = tmp_path / "report.json"
    result = chiasm("translate", "-i", three, "-o", out, "--model", regression, "--report", report)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith("chiasm: ")
    assert str(three / "sub-01_PDw.nii.gz") in line
    assert said in line
    assert files_below(out) == ["sub-00_T1w.nii.gz", "sub-02_T1w.nii.gz"]
    content = json.loads(report.read_text())
    assert content["finished"] is True
    assert [set(case) >= {"outputs"} for case in content["cases"]] == [True, False, True]
    failed = content["cases"][1]
    assert failed["input"] == str(three / "sub-01_PDw.nii.gz")
    assert said in failed["error"]
    assert "Traceback" in failed["traceback"]
    assert content["failed"] == [failed["error"]]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_leaves_a_report_that_is_not_finished(
    chiasm, three, out, tmp_path, regression, raises_in_the_second, error
):
    raises_in_the_second(error)
    report = tmp_path / "report.json"
    result = chiasm("translate", "-i", three, "-o", out, "--model", regression, "--report", report)
    assert result.code == (130 if isinstance(error, KeyboardInterrupt) else 3)
    content = json.loads(report.read_text())
    assert content["finished"] is False
    assert [case["input"] for case in content["cases"]] == [str(three / "sub-00_PDw.nii.gz")]
    assert files_below(out) == ["sub-00_T1w.nii.gz"]


@pytest.mark.parametrize("error", [MemoryError(), Fatal("x")])
def test_an_error_in_segmentation_is_one_scans_too(
    chiasm, three, out, tmp_path, segmenter, regression, monkeypatch, error
):
    from chiasm.segmenters.network import NetworkSegmenter

    original = NetworkSegmenter.segment

    def segment(self, volume, mask=None):
        if volume.shape == (26, 30, 7):
            raise error
        return original(self, volume, mask)

    monkeypatch.setattr(NetworkSegmenter, "segment", segment)
    words = ("--model", regression, "--segmenter", segmenter, "--report", tmp_path / "r.json")
    assert chiasm("run", "-i", three, "-o", out, *words).code == 1
    # Neither the translation nor the labels of the scan that failed are there.
    names = [f"sub-0{n}_{end}" for n in (0, 2) for end in ("T1w.nii.gz", "dseg.nii.gz", "dseg.tsv")]
    assert files_below(out) == names
    assert json.loads((tmp_path / "r.json").read_text())["finished"] is True


def test_it_may_be_no_input_no_mask_and_no_output(chiasm, scan, out, tmp_path, regression):
    mask = save_nifti(tmp_path / "brain.nii.gz", (brain() > 0).astype(np.uint8))
    given = ("translate", "-i", scan, "-o", out, "--model", regression, "--overwrite")
    link = tmp_path / "link.json"
    link.symlink_to(scan)
    kept = {path: path.read_bytes() for path in (scan, mask)}
    for report in (scan, mask, link, scan.parent / ".." / scan.parent.name / scan.name):
        refused = chiasm(*given, "--mask", mask, "--report", report)
        assert refused.code == 2
        refused.assert_said("--report", report, "is one of the input files")
    output = out / "sub-01_T1w.nii.gz"
    refused = chiasm(*given, "--report", output)
    assert refused.code == 2
    refused.assert_said("--report", output, "is one of the output files")
    assert not out.exists()
    assert {path: path.read_bytes() for path in kept} == kept


def test_it_may_be_no_file_that_a_folder_left_out(chiasm, scan, out, regression):
    other = save_nifti(scan.with_name("sub-01_T1w.nii.gz"), brain())
    before = other.read_bytes()
    given = ("-i", scan.parent, "-o", out, "--model", regression, "--overwrite")
    refused = chiasm("translate", *given, "--report", other)
    assert refused.code == 2
    refused.assert_said("--report", other)
    assert other.read_bytes() == before


def test_a_folder_without_scans_has_a_report(chiasm, tmp_path, out, regression):
    (tmp_path / "empty").mkdir()
    report = tmp_path / "report.json"
    given = ("-i", tmp_path / "empty", "-o", out, "--model", regression, "--report", report)
    assert chiasm("translate", *given).code == 1
    content = json.loads(report.read_text())
    assert content["cases"] == []
    assert "holds no image" in content["failed"][0]


def test_warnings_are_in_the_report_word_by_word(chiasm, scan, out, segmenter, tmp_path):
    report = tmp_path / "report.json"
    given = ("-i", scan, "-o", out, "--segmenter", segmenter, "--report", report)
    result = chiasm("segment", *given)
    assert result.code == 0
    (case,) = json.loads(report.read_text())["cases"]
    assert [f"chiasm: warning: {scan}: {one}" for one in case["warnings"]] == (
        result.err.splitlines()
    )
    assert len(case["warnings"]) == 1


def test_out_of_memory_is_told_by_any_library():
    for text in ("CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory", "bad_alloc"):
        assert "memory that is free" in str(cohort_run.failure(RuntimeError(text)))
    assert "error in Chiasm" in str(cohort_run.failure(RuntimeError("memory is fine")))


def test_a_report_can_be_a_page(chiasm, scan, out, tmp_path, regression):
    """It needs no other file, and shows the failures, the warnings and the settings."""
    bad = tmp_path / "in" / "sub-02_T2w.nii.gz"
    bad.write_bytes(b"<b>no image</b>")
    page, record = out / "report.html", out / "report.json"
    result = chiasm("translate", "-i", scan, "-i", bad, "-o", out / "made", "--model", regression,
                    "--report", page, "--report", record)  # fmt: skip
    assert result.code == 1
    told, text = json.loads(record.read_text()), page.read_text(encoding="utf-8")
    assert "1 of 2 scans are finished." in text
    for part in (told["chiasm"], told["versions"]["torch"], str(scan), "failed", "Device"):
        assert html.escape(part) in text, part
    assert html.escape(told["failed"][0]) in text
    (finished,) = (case for case in told["cases"] if "error" not in case)
    assert f"<td>{finished['translation']['cost']['seconds']:.1f}</td>" in text
    assert "src=" not in text
    assert "http" not in text
    result = chiasm("translate", "-i", scan, "-o", tmp_path / "again", "--model", regression,
                    "--report", page)  # fmt: skip
    assert result.code == 1
    result.assert_said("--report", page, "exists", "--overwrite")
    assert page.read_text(encoding="utf-8") == text


def test_two_reports_have_two_names(chiasm, scan, out, regression):
    result = chiasm("translate", "-i", scan, "-o", out, "--model", regression,
                    "--report", "a.json", "--report", "a.json")  # fmt: skip
    assert result.code == 2
    result.assert_said("--report", "is named twice")
