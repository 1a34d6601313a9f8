"""The wheel, installed outside the source tree: weights, recipes and templates are inside."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import chiasm
from chiasm.phantom import Settings, subject

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]


def run(command, **named):
    done = subprocess.run(command, capture_output=True, text=True, **named)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package from its wheel, which was built from a copy of the sources."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    alone = ["--no-deps", "--no-index"]
    run([*pip, "wheel", str(source), *alone, "--no-build-isolation", "-w", str(wheels)])
    (wheel,) = wheels.glob("chiasm-*.whl")
    run([*pip, "install", str(wheel), *alone, "--target", str(target)])
    return target


@pytest.fixture
def command(installed, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(installed)}

    def call(*arguments):
        told = [sys.executable, "-m", "chiasm", *map(str, arguments)]
        return run(told, cwd=elsewhere, env=environment)

    code = "import chiasm; print(chiasm.__file__)"
    where = run([sys.executable, "-c", code], cwd=elsewhere, env=environment).stdout
    assert Path(where.strip()).is_relative_to(installed)
    return call


def test_version_and_info(command):
    assert chiasm.__version__ in command("--version").stdout
    shown = command("info").stdout
    for name in ("brain-t1", "brain-t1-tissue", "brain-any", "loss-guidance"):
        assert name in shown


def test_every_file_of_the_package_is_in_it(installed):
    """But for what Python writes."""

    def names(folder):
        paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {str(path) for path in paths if "__pycache__" not in path.parts}

    assert names(installed / "chiasm") == names(Path(chiasm.__file__).parent)


def test_a_run_from_elsewhere(command, tmp_path):
    scan = subject(2, Settings(spacing=4.0, modalities=("PDw",))).volumes["PDw"]
    source = tmp_path / "sub-01_PDw.nii.gz"
    nib.save(nib.Nifti1Image(scan.array, scan.affine), source)
    out, report = tmp_path / "out", tmp_path / "report.json"
    command("run", "-i", source, "-o", out, "--device", "cpu", "--report", report)
    labels = nib.load(out / "sub-01_dseg.nii.gz")
    assert labels.shape == scan.shape
    assert set(np.unique(np.asarray(labels.dataobj))) == {0, 1, 2, 3}
    (case,) = json.loads(report.read_text())["cases"]
    assert len(case["outputs"]) == 2
