"""Commands, options, names and values that are not legal: exit code 2 before anything is read."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from command_samples import brain, files_below, load, save_nifti

from chiasm import registry
from chiasm.image.modality import SUFFIXES

# What `chiasm train --method` accepts.
TRAININGS = (
    *(name for name in registry.METHODS if registry.METHODS.load(name).objective is not None),
    *registry.SEGMENTER_TRAININGS,
)
COMMANDS = ("translate", "segment", "run", "evaluate", "compare", "phantom", "train", "info")


@pytest.fixture
def places(scan, out, regression, diffusion, segmenter):
    """What the words in capitals of a command line stand for."""
    for subject in ("sub-01", "sub-02"):
        save_nifti(scan.with_name(f"{subject}_T1w.nii.gz"), brain())
    return {
        "SCAN": scan, "SCANS": scan.parent, "OUT": out, "FILE": out / "a.nii.gz",
        "REGRESSION": regression, "DIFFUSION": diffusion, "SEGMENTER": segmenter,
    }  # fmt: skip


TRANSLATE = "translate -i SCAN -o OUT --model DIFFUSION "
SEGMENT = "segment -i SCAN -o OUT --segmenter SEGMENTER "
RUN = "run -i SCAN -o OUT --model REGRESSION --segmenter SEGMENTER "
EVALUATE = "evaluate --pred SCAN --truth SCAN --json FILE "
PHANTOM = "phantom -o OUT "
TRAIN = "train -i SCANS -o OUT --target T1 --method regression iterations=1 "
TRAIN_DIFFUSION = "train -i SCANS -o OUT --target T1 --method lmi-diffusion iterations=1 "
PAIRED = "train -i SCANS -o OUT --target T1 --method paired iterations=1 "

ILLEGAL = [
    ("transmogrify -i SCAN", ["transmogrify", "translate, segment, run"]),
    ("--bogus", ["--bogus", "translate, segment, run"]),
    (TRANSLATE + "--bogus 1", ["--bogus", "--input", "--steps"]),
    (TRANSLATE + "SCAN", ["SCAN"]),
    ("translate -o OUT", ["--input"]),
    (TRANSLATE + "--steps", ["--steps"]),
    ("translate -i SCAN -o OUT --model nope", ["--model nope", "config.json"]),
    ("translate -i SCAN -o OUT --model SEGMENTER", ["--model", "is a segmenter"]),
    (TRANSLATE + "--method nope", ["--method nope", *registry.METHODS]),
    (TRANSLATE + "--method regression", ["--model tiny-diffusion", "regression"]),
    (TRANSLATE + "--scheduler nope", ["--scheduler nope", *registry.SCHEDULERS]),
    (TRANSLATE + "--steps 0", ["--steps 0", "greater than or equal to 1"]),
    (TRANSLATE + "--steps 2000", ["--steps 2000", "at most 1000"]),
    (TRANSLATE + "--steps abc", ["--steps abc", "integer"]),
    (TRANSLATE + "--guidance -1", ["--guidance -1", "greater than or equal to 0"]),
    (TRANSLATE + "--guidance nan", ["--guidance nan"]),
    (TRANSLATE + "--guidance inf", ["--guidance inf"]),
    (TRANSLATE + "--method loss-guidance --strength -1", ["--strength -1", "equal to 0"]),
    (TRANSLATE + "--seed -1", ["--seed -1", "greater than or equal to 0"]),
    (TRANSLATE + "--batch 0", ["--batch 0", "at least 1"]),
    (TRANSLATE + "--threads 0", ["--threads 0", "at least 1"]),
    (TRANSLATE + "--device banana", ["--device banana", "auto, cpu, cuda"]),
    (TRANSLATE + "--device cuda:99", ["--device cuda:99", "auto, cpu"]),
    (TRANSLATE + "--to T2", ["--to T2w", "T1w"]),
    (TRANSLATE + "--to nope", ["--to nope", "T1w", "FLAIR"]),
    (TRANSLATE + "--modality nope", ["--modality nope", "T1w", "FLAIR"]),
    (TRANSLATE + "--spacing 0", ["--spacing 0", "positive"]),
    ("translate -i SCANS -o FILE --model REGRESSION", ["-o", "a folder"]),
    ("translate -i SCAN -i SCANS -o FILE --model REGRESSION", ["-o", "a folder"]),
    ("segment -i SCAN -o OUT --segmenter nope", ["--segmenter nope", "config.json"]),
    ("segment -i SCAN -o OUT --segmenter REGRESSION", ["--segmenter", "is a translator"]),
    (SEGMENT + "--batch 0", ["--batch 0", "at least 1"]),
    (SEGMENT + "--threads 0", ["--threads 0", "at least 1"]),
    (SEGMENT + "--spacing -1", ["--spacing -1", "positive"]),
    (SEGMENT + "--device banana", ["--device banana", "auto, cpu, cuda"]),
    (SEGMENT + "--device cuda:99", ["--device cuda:99", "auto, cpu"]),
    (RUN + "--model nope", ["--model nope"]),
    (RUN + "--segmenter nope", ["--segmenter nope"]),
    (RUN + "--threads -1", ["--threads -1", "at least 1"]),
    (RUN + "--steps 0", ["--steps 0"]),
    (RUN + "--to FLAIR", ["--to FLAIR", "T1w"]),
    ("evaluate --pred SCAN", ["--truth"]),
    (EVALUATE + "--bogus", ["--bogus", "--resample"]),
    (PHANTOM + "--subjects 0", ["--subjects 0", "at least 1"]),
    (PHANTOM + "--subjects two", ["--subjects two", "integer"]),
    (PHANTOM + "--spacing -1", ["--spacing -1", "more than 0"]),
    (PHANTOM + "--spacing nan", ["--spacing nan", "more than 0"]),
    (PHANTOM + "--modalities T1,nope", ["--modalities", "nope", "T1w, PDw, T2w, FLAIR"]),
    (PHANTOM + "--modalities CT", ["--modalities", "CT", "T1w, PDw, T2w, FLAIR"]),
    (PHANTOM + "--modalities ,", ["--modalities", "T1w, PDw, T2w, FLAIR"]),
    (PHANTOM + "--seed -1", ["--seed -1", "at least 0"]),
    ("train -i SCANS -o OUT --target T1 --method nope", ["--method nope", *TRAININGS]),
    ("train -i SCANS -o OUT --target nope --method regression", ["--target nope", "T1w"]),
    (TRAIN + "foo=1", ["foo 1", "iterations", "batch"]),
    (TRAIN + "--sources PD", ["--sources PDw", "regression learns from T1w alone"]),
    (TRAIN + "--sources nope", ["--sources nope", "T1w"]),
    (TRAIN + "sources=PD", ["sources PD", "list"]),
    (TRAIN + "sources=[PD,PDw]", ["sources", "named twice"]),
    (PAIRED, ["--sources", "paired", "--sources PD"]),
    (PAIRED + "--sources PD,T1", ["--sources T1w", "is the target"]),
    (TRAIN + "iterations", ["iterations", "key=value"]),
    (TRAIN + "iterations=0", ["iterations 0", "at least 1"]),
    (TRAIN + "iterations=many", ["iterations many", "integer"]),
    (TRAIN + "learning_rate=.inf", ["learning_rate inf"]),
    (TRAIN + "precision=half", ["precision half", "bf16-mixed"]),
    (TRAIN + "seed=-1", ["seed -1", "greater than or equal to 0"]),
    (TRAIN + "seed=99999999999", ["seed 99999999999", "less than"]),
    (TRAIN + "network.name=nope", ["network", "nope", *registry.NETWORKS]),
    (TRAIN + "network.bogus=1", ["network.bogus 1"]),
    (TRAIN + "network.arguments.bogus=1", ["network", "bogus"]),
    (TRAIN + 'guides=[{"name":"nope"}]', ["guide", "nope", *registry.GUIDES]),
    (TRAIN + 'guides=[{"name":"source","bogus":1}]', ["guide", "bogus"]),
    (TRAIN + 'guides=[{"name":"lmi"}]', ["guides", "x_t"]),
    (TRAIN + 'guides=[{"name":"lmi","maps":["source"],"patch_size":4}]', ["patch_size 4", "odd"]),
    (TRAIN + "guides=[]", ["guides", "at least one"]),
    (TRAIN + "contrast.knots=1", ["contrast.knots 1", "greater than or equal to 2"]),
    (TRAIN + "diffusion.steps=8", ["diffusion", "iterations", "intensity_mapping"]),
    (TRAIN_DIFFUSION + "diffusion.steps=0", ["diffusion.steps 0", "greater than or equal to 1"]),
    (TRAIN_DIFFUSION + "diffusion.parameterisation=nope", ["nope", *registry.PARAMETERISATIONS]),
    (TRAIN + 'grid={"spacing":[2,2,2],"orientation":"RAX"}', ["grid.orientation RAX", "S or I"]),
    (TRAIN + "grid.spacing=[2,0,2]", ["grid.spacing.1", "0"]),
    (
        TRAIN + "train_subjects=[sub-01] validation_subjects=[sub-01]",
        ["sub-01", "in train_subjects too"],
    ),
    (TRAIN + "--threads 0", ["--threads 0", "at least 1"]),
    (TRAIN + "--device banana", ["--device banana"]),
    (TRAIN + "--resume --overwrite", ["--resume", "--overwrite"]),
    ("info --bogus", ["--bogus", "--json"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "parts"), ILLEGAL, ids=[line for line, _ in ILLEGAL])
def test_it_is_told_and_nothing_is_read_or_written(chiasm, places, opened, line, parts):
    before = files_below(places["SCANS"])
    result = chiasm(*(places.get(word, word) for word in line.split()))
    assert result.code == 2
    result.assert_said(*(places.get(part, part) for part in parts))
    assert result.out == ""
    assert [path for path in opened if places["SCANS"] in path.parents] == []
    assert not places["OUT"].exists()
    assert files_below(places["SCANS"]) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("line", [TRANSLATE, SEGMENT, RUN, TRAIN])
def test_a_device_that_is_not_there_is_no_fallback(chiasm, places, opened, line):
    result = chiasm(*(places.get(word, word) for word in line.split()), "--device", "cuda")
    assert result.code == 2
    result.assert_said("--device cuda", "auto, cpu")
    assert [path for path in opened if places["SCANS"] in path.parents] == []
    assert not places["OUT"].exists()


def test_noise_cannot_be_predicted_where_there_is_no_signal(chiasm, diffusion, scan, out, tmp_path):
    config = json.loads((diffusion / "config.json").read_text())
    config["settings"]["diffusion"]["parameterisation"] = "epsilon"
    model = tmp_path / "epsilon"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config))
    given = ("translate", "-i", scan, "-o", out, "--model", model, "--scheduler", "ddim")
    result = chiasm(*given)
    assert result.code == 2
    result.assert_said("parameterisation epsilon", "dpm++")


def test_a_segmenter_of_another_modality(chiasm, scan, out, regression, segmenter, tmp_path):
    config = json.loads((segmenter / "config.json").read_text())
    other = tmp_path / "of-flair"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config | {"target": "FLAIR"}))
    result = chiasm("run", "-i", scan, "-o", out, "--model", regression, "--segmenter", other)
    assert result.code == 2
    result.assert_said("--segmenter of-flair", "FLAIR", "T1w")
    assert not out.exists()


def test_two_inputs_that_would_meet_in_one_file(chiasm, scan, tmp_path, out, regression):
    other = save_nifti(tmp_path / "other" / scan.name, brain(seed=1))
    given = ("-i", scan, "-i", other, "-o", out, "--model", regression, "--overwrite")
    result = chiasm("translate", *given)
    assert result.code == 2
    result.assert_said("-o", scan, other)
    assert not out.exists()


def test_a_process_of_its_own_does_the_same(
    chiasm, chiasm_process, scan, out, tmp_path, regression
):
    damaged = scan.with_name("sub-02_PDw.nii.gz")
    damaged.write_bytes(scan.read_bytes()[:-300])
    words = ("translate", "-i", damaged, "-i", scan, "--model", regression, "--threads", 1, "-o")
    report = tmp_path / "report.json"
    told = chiasm_process(*words, out, "--report", report)
    assert told.code == 1
    told.assert_said("-i", damaged, "truncated")
    made = out / "sub-01_T1w.nii.gz"
    assert told.out == f"[2/2] {scan} -> {made}\n"
    given = [str(one) for one in (*words, out, "--report", report)]
    assert json.loads(report.read_text())["command"] == given
    assert files_below(out) == [made.name]
    assert chiasm(*words, out / "here").code == 1
    np.testing.assert_allclose(load(made), load(out / "here" / made.name), atol=0.1)

    refused = chiasm_process("translate", "-i", scan, "-o", out, "--steps", "abc")
    assert refused.code == 2
    refused.assert_said("--steps abc")


def test_nobody_reads_the_output():
    command = [sys.executable, "-m", "chiasm", "info"]  # fits the buffer, so fails when flushed
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [["--help"], [], *([name, "--help"] for name in COMMANDS)])
def test_help(chiasm, arguments):
    result = chiasm(*arguments)
    assert (result.code, result.err) == (0, "")
    assert "Usage: chiasm" in result.out
    expected = COMMANDS if arguments in (["--help"], []) else ("--help",)
    assert all(word in result.out for word in expected)


def test_info_imports_nothing_heavy():
    code = """
import sys
from chiasm.cli import main
try:
    main(["info", "--json"])
except SystemExit as stop:
    heavy = {"torch", "monai", "lightning", "diffusers", "numba"}
    print(stop.code, sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"


def test_info_lists_exactly_what_options_accept(chiasm):
    result = chiasm("info", "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert list(found["methods"]) == list(registry.METHODS)
    assert list(found["guides"]) == list(registry.GUIDES)
    assert list(found["schedulers"]) == list(registry.SCHEDULERS)
    assert list(found["parameterisations"]) == list(registry.PARAMETERISATIONS)
    assert list(found["networks"]) == list(registry.NETWORKS)
    assert list(found["training methods"]) == list(TRAININGS)
    assert found["modalities"] == list(SUFFIXES)
    assert {"models", "segmenters", "version"} <= set(found)


def test_info_lists_the_models_in_the_package(chiasm, monkeypatch, regression, segmenter, tmp_path):
    from chiasm import models

    shelf = tmp_path / "weights"
    shelf.mkdir()
    (shelf / "one").symlink_to(regression)
    (shelf / "two").symlink_to(segmenter)
    monkeypatch.setattr(models, "SHIPPED", shelf)
    found = json.loads(chiasm("info", "--json").out)
    assert found["models"] == {"one": "regression, T1w"}
    assert found["segmenters"] == {"two": "network, T1w"}
    listed = chiasm("info").out
    for name in ("one", "two", *registry.METHODS, *registry.SCHEDULERS, *registry.GUIDES):
        assert name in listed
