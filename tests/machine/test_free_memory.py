"""Memory that is short: told from damage, and refused before any of it is taken."""

import gzip
import subprocess
import sys
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.errors import CaseError
from chiasm.files import nifti
from chiasm.image.context import Context
from chiasm.image.foreground import foreground_mask
from chiasm.image.grid import Grid
from chiasm.image.grid_memory import preparation_bytes
from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings, prepare
from chiasm.image.volume import Volume
from chiasm.machine import free_memory

ARRAY = np.random.default_rng(0).normal(100, 20, (40, 42, 20)).astype(np.float32)


@pytest.fixture(params=[".nii", ".nii.gz"])
def scan(request, tmp_path):
    path = tmp_path / f"a_T2w{request.param}"
    nib.save(nib.Nifti1Image(ARRAY, np.eye(4)), path)
    return path


def assert_said_to_be_too_large(error):
    message = str(error.value)
    assert "does not fit the memory that is free" in message
    assert "damaged" not in message
    assert "\n" not in message


@pytest.mark.parametrize("raised", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_a_valid_file_is_not_called_damaged_when_memory_runs_short(scan, monkeypatch, raised):
    def short(*_, **__):
        raise raised

    monkeypatch.setattr(nifti.nib, "load", short)
    with pytest.raises(CaseError) as caught:
        files.read(scan)
    assert_said_to_be_too_large(caught)


def test_pillow_too(tmp_path, monkeypatch):
    from PIL import Image

    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png")

    def short(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", short)
    monkeypatch.setattr(Image, "open", short)
    with pytest.raises(CaseError) as caught:
        files.read(tmp_path / "a.png")
    assert_said_to_be_too_large(caught)


def test_a_scan_larger_than_the_free_memory_is_refused_before_it_is_read(scan, monkeypatch):
    monkeypatch.setattr(nifti, "free_bytes", lambda: 0, raising=False)
    monkeypatch.setattr(free_memory, "free_bytes", lambda *_: 9 * ARRAY.size - 1)
    with pytest.raises(CaseError) as caught:
        files.read(scan)
    assert_said_to_be_too_large(caught)
    monkeypatch.setattr(free_memory, "free_bytes", lambda *_: 9 * ARRAY.size)
    np.testing.assert_array_equal(files.read(scan).array, ARRAY)


def test_a_header_that_promises_more_than_the_file_can_hold_is_damage(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((20000, 20000, 20000))
    header.set_data_dtype(np.float32)
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(1000))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    for name in ("a.nii", "b.nii.gz"):
        with pytest.raises(CaseError, match="damaged or truncated"):
            files.read(tmp_path / name)


def test_a_limit_on_the_address_space_counts():
    code = (
        "import resource; from chiasm.machine.free_memory import free_bytes, psutil;"
        "used = psutil.Process().memory_info().vms;"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, -1)); print(free_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**25 < int(done.stdout) <= 2**26


def test_asking_for_it_imports_no_torch():
    code = "import sys, chiasm.files, chiasm.machine.free_memory; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def brain(shape, spacing):
    middle = (np.array(shape) - 1) / 2
    inside = (((np.indices(shape).T - middle) / (middle * 0.8)) ** 2).sum(-1).T <= 1
    noise = np.random.default_rng(0).normal(0, 50, shape)
    return Volume(np.where(inside, 500 + noise, 0), np.diag([*spacing, 1.0]))


@pytest.mark.parametrize(
    ("shape", "spacing", "wanted"),
    [
        ((90, 100, 60), (1, 1, 1), (None, None, None)),
        ((90, 100, 60), (1, 1, 1), (1.6, 1.6, 1.6)),
        ((60, 60, 20), (2, 2, 4), (1, 1, 1)),
        ((24, 24, 8), (7, 7, 21), (1, 1, 1)),
    ],
)
def test_the_estimate_is_close_to_what_is_taken(shape, spacing, wanted):
    scan = brain(shape, spacing)
    mask = foreground_mask(scan)
    tracemalloc.start()
    prepared = prepare(scan, GridSettings(spacing=wanted), Context(), mask=mask, divisible_by=16)
    samples = prepared.samples()
    result = np.zeros((len(samples), 1, *samples.shape[2:]), np.float32)
    prepared.restore(result, IntensityMap(low=0, high=1), "T1w")
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken <= preparation_bytes(prepared.grid) <= 2 * taken


def test_a_lattice_of_terabytes_is_refused_before_it_is_allocated():
    scan = Volume(brain((40, 40, 20), (1, 1, 1)).array, np.diag([90.0, 90, 90, 1]))
    mask = foreground_mask(scan)
    tracemalloc.start()
    with pytest.raises(CaseError, match="for the model's grid of") as caught:
        prepare(scan, GridSettings(spacing=(0.2, 0.2, 0.2)), Context(), mask=mask)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_said_to_be_too_large(caught)
    assert taken < 2**22


def test_sizes_beyond_64_bits_are_counted():
    affine = np.diag([1e5, 1e5, 1e5, 1.0])
    grid = Grid.plan((400, 400, 400), affine, spacing=(0.01, 0.01, 0.01))
    assert preparation_bytes(grid) > 2**90


def test_finding_the_foreground_is_refused_in_time(monkeypatch):
    scan = brain((60, 60, 40), (1, 1, 1))
    monkeypatch.setattr(free_memory, "free_bytes", lambda *_: 10 * scan.array.size)
    with pytest.raises(CaseError, match="for finding the foreground"):
        foreground_mask(scan)
    tracemalloc.start()
    monkeypatch.undo()
    foreground_mask(scan)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 20 * scan.array.size
