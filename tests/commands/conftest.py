"""Run the commands as users do, with tiny models of random weights."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from command_samples import (
    DIFFUSION_UNET,
    TARGET,
    TISSUE_NAMES,
    UNET,
    Result,
    brain,
    save_nifti,
)

from chiasm import models
from chiasm.cli import main
from chiasm.image.preparation import GridSettings


@pytest.fixture
def chiasm(capsys):
    """Run ``chiasm`` with arguments in this process, where torch is imported already."""

    def run(*arguments):
        capsys.readouterr()
        with _as_on_a_terminal(), pytest.raises(SystemExit) as stop:
            main([str(one) for one in arguments])
        return _result(stop.value.code, *capsys.readouterr())

    return run


def _result(code, out, err):
    """Without the lines that tell how far a slow machine is."""
    lines = err.splitlines(keepends=True)
    return Result(code, out, "".join(line for line in lines if not line.endswith(" s left\n")))


@contextmanager
def _as_on_a_terminal():
    """Warnings and log records to stderr, from where pytest takes them."""
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for hidden in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", hidden)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            for one in caught:
                print(f"{one.category.__name__}: {one.message}", file=sys.stderr)


@pytest.fixture
def chiasm_process():
    """Run ``python -m chiasm`` with arguments as a process of its own."""

    def run(*arguments):
        command = [sys.executable, "-m", "chiasm", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return _result(done.returncode, done.stdout, done.stderr)

    return run


_opened: list[Path] | None = None


def _note(event, arguments):
    if event == "open" and _opened is not None and isinstance(arguments[0], str | bytes | Path):
        _opened.append(Path(os.fsdecode(arguments[0])))


sys.addaudithook(_note)  # sees every file that Python opens; cannot be removed, so it is switched


@pytest.fixture
def opened():
    """The files that were opened since the test began, in order."""
    global _opened
    _opened = []
    yield _opened
    _opened = None


@pytest.fixture
def scan(tmp_path):
    """A PD-weighted brain."""
    return save_nifti(tmp_path / "in" / "sub-01_PDw.nii.gz", brain())


@pytest.fixture
def t1(tmp_path):
    """A T1-weighted brain, which the tiny segmenter wants."""
    return save_nifti(tmp_path / "in" / "sub-01_T1w.nii.gz", brain())


@pytest.fixture
def out(tmp_path):
    """A place for outputs; not there yet."""
    return tmp_path / "out"


def _save(folder, **changes):
    torch.manual_seed(1)
    settings = {
        "kind": "translator",
        "method": "regression",
        "target": "T1w",
        "grid": GridSettings(spacing=(2.0, 2.0, None)),
        "network": UNET,
        "settings": {"guides": [{"name": "source"}]},
        "intensity": TARGET,
        "quantiles": np.linspace(0, 1, 33).tolist(),
    }
    config = models.ModelConfig(**settings | changes)
    module = models.build(config)
    with torch.no_grad():
        for weights in module.parameters():  # some layers start at 0 and would hide the others
            weights.add_(0.1 * torch.randn(weights.shape))
    models.save(folder, config, module, "# random weights\n")
    return folder


@pytest.fixture(scope="session")
def regression(tmp_path_factory):
    """A one-step translator to T1w."""
    return _save(tmp_path_factory.mktemp("models") / "tiny-regression")


@pytest.fixture(scope="session")
def diffusion(tmp_path_factory):
    """A diffusion to T1w guided by local mutual information, of 3 steps."""
    return _save(
        tmp_path_factory.mktemp("models") / "tiny-diffusion",
        method="lmi-diffusion",
        network=DIFFUSION_UNET,
        settings={
            "guides": [{"name": "lmi"}],
            "diffusion": {"parameterisation": "v", "steps": 3},
        },
    )


@pytest.fixture(scope="session")
def paired(tmp_path_factory):
    """A one-step translator to T1w that learned from pairs with PDw."""
    folder = tmp_path_factory.mktemp("models") / "tiny-paired"
    return _save(folder, method="paired", sources=["PDw"])


SEGMENTER = {
    "kind": "segmenter",
    "method": "network",
    "settings": {},
    "intensity": None,
    "quantiles": [],
    "labels": [
        models.LabelSettings(value=value, name=name, colour="#000000")
        for value, name in enumerate(TISSUE_NAMES)
    ],
}


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory):
    """A segmenter of T1w into four labels."""
    return _save(tmp_path_factory.mktemp("models") / "tiny-segmenter", **SEGMENTER)


@pytest.fixture(scope="session")
def contrast_agnostic(tmp_path_factory):
    """A segmenter of any modality, trained on T2w."""
    folder = tmp_path_factory.mktemp("models") / "tiny-any-contrast"
    return _save(folder, **SEGMENTER, target="T2w", any_contrast=True)
