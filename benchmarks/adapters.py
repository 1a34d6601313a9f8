"""Every kind of segmenter that ``--segmenter`` takes, run by the command on one real scan.

    python benchmarks/adapters.py --data DIR [--scan T1.nii.gz] [--only onnx,bundle]
        [--nnunet FOLDER] [--samseg FILE.yaml] [--deepbet FILE.yaml]

DIR holds ``foreign_models`` and ``open_ms``. The scan is a T1 of open_ms as it was scanned, unless
--scan names another. Each row is one ``chiasm segment`` in a process of its own:

- a Chiasm model, and the MONAI bundle that ``chiasm export`` makes of it. They are compared with
  each other.
- MeshNet and MindGrab of brainchop, written out as TorchScript. They are compared with the same
  networks as benchmarks/foreign_networks.py runs them.
- the axial network of multiaxial, an ONNX file. It is compared with the Chiasm model.
- a model folder of nnU-Net, and programs that a YAML file describes, if their paths are given. A
  program is compared with the Chiasm model, a brain extraction with MindGrab.
- three programs that fail, hang and write nothing. Their rows show the line that a user sees.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table

import foreign_networks
from chiasm import files
from chiasm.image.volume import LabelVolume, Volume
from chiasm.registry import DEFAULT_SEGMENTER
from foreign_networks import ForeignNetwork, MeshNet, MindGrab
from harness import cell, results_before, save

NAME = "adapters"
SCAN = Path("open_ms") / "native" / "patient04_session1" / "T1.nii.gz"
MULTIAXIAL = {
    0: "background",
    1: "air",
    2: "grey matter",
    3: "white matter",
    4: "cerebrospinal fluid",
    5: "bone",
    6: "skin",
}
TISSUES = {"csf": "cerebrospinal fluid", "grey": "grey matter", "white": "white matter"}
_BRAIN = "brain"
_SHORT = 0.1  # minutes that a program is given that hangs
Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One row: what ``--segmenter`` gets, and what its labels are compared with."""

    name: str
    given: str
    reference: Callable[[], LabelVolume] | None = None
    compared_with: str = ""


@dataclass
class Bench:
    """Where the scan, the networks of others and the results of this run lie."""

    scan: Path
    models: Path
    folder: Path
    kept: dict[str, LabelVolume] = field(default_factory=dict)

    def volume(self) -> Volume:
        """The scan."""
        return files.read(self.scan, modality="T1w")

    def own(self) -> LabelVolume:
        """What the shipped segmenter makes of the scan, by the command."""
        if DEFAULT_SEGMENTER not in self.kept:
            out = self.folder / "own_dseg.nii.gz"
            done, _ = segmented(self.scan, out, DEFAULT_SEGMENTER)
            if done.returncode:
                raise SystemExit(done.stderr)
            self.kept[DEFAULT_SEGMENTER] = files.read_labels(out)
        return self.kept[DEFAULT_SEGMENTER]

    def of(self, network: ForeignNetwork) -> LabelVolume:
        """What a network of others makes of the scan where this folder runs it."""
        if network.name not in self.kept:
            self.kept[network.name] = network.segment(self.volume()).labels
        return self.kept[network.name]


def segmented(scan: Path, out: Path, given: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """``chiasm segment`` in a process of its own with one thread, and its seconds."""
    words = ("segment", "-i", str(scan), "-o", str(out), "--segmenter", given)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "chiasm", *words, "--modality", "T1", "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done, time.perf_counter() - started


def torchscript(network: ForeignNetwork, folder: Path, **described: Any) -> Path:
    """Write a network of brainchop as TorchScript, with its description beside it."""
    network.load()
    assert network._network is not None
    path = folder / f"{network.name}.ts"
    with torch.inference_mode():
        torch.jit.trace(network._network, torch.zeros(1, 1, 16, 16, 16)).save(path)
    labels = {0: "background"} | {k: one.name for k, one in network.values.items()}
    settings = {
        "spacing": 1,
        "orientation": "".join(foreign_networks.AXES),
        "size": foreign_networks.FIELD,
        "range": [f"p{100 * q:g}" for q in foreign_networks.QUANTILES],
        "within": "field",
        "labels": labels,
    }
    _write(path.with_suffix(".yaml"), settings | described)
    return path


def multiaxial(models: Path, folder: Path) -> Path:
    """The description of the axial network of multiaxial."""
    settings = {
        "network": str((models / "multiaxial" / "axial_model.onnx").absolute()),
        "modality": "T1w",
        "spacing": 1,
        "plane": "axial",
        "size": foreign_networks.FIELD,
        "channels_last": True,
        "coordinates": True,
        "range": ["p2", "p98"],
        "within": "field",
        "labels": MULTIAXIAL,
    }
    return _write(folder / "multiaxial.yaml", settings)


def _write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def _program(folder: Path, name: str, code: str, **settings: Any) -> str:
    """A program of this one line, as a description."""
    script = folder / f"{name}.py"
    script.write_text(code, encoding="utf-8")
    words = {"command": f"{sys.executable} {script} {{input}} {{output}}"}
    return str(_write(folder / f"{name}.yaml", words | settings))


def bundle(folder: Path) -> Path:
    """The shipped segmenter as a MONAI bundle."""
    out = folder / "bundle"
    words = ["export", DEFAULT_SEGMENTER, "--to", "bundle", "-o", str(out)]
    subprocess.run([sys.executable, "-m", "chiasm", *words], check=True, capture_output=True)
    return out


def trials(bench: Bench, chosen: argparse.Namespace) -> dict[str, Callable[[], Trial]]:
    """All rows by the name that --only takes; what a row needs is made when it is run."""
    folder, models = bench.folder, bench.models
    own = {"reference": bench.own, "compared_with": DEFAULT_SEGMENTER}

    def scripted(network: ForeignNetwork, **described: Any) -> Trial:
        path = torchscript(network, folder, **described)
        kept = {"reference": lambda: bench.of(network), "compared_with": "the network itself"}
        return Trial(f"TorchScript: {network.name}", str(path), **kept)

    def brains() -> LabelVolume:
        return bench.of(MindGrab(models / "meshnet" / "mindgrab"))

    found: dict[str, Callable[[], Trial]] = {
        "model": lambda: Trial(f"Chiasm model: {DEFAULT_SEGMENTER}", DEFAULT_SEGMENTER),
        "bundle": lambda: Trial("MONAI bundle of the Chiasm model", str(bundle(folder)), **own),
        "meshnet": lambda: scripted(
            MeshNet(models / "meshnet" / "model20chan3cls"), modality="T1w"
        ),
        "mindgrab": lambda: scripted(MindGrab(models / "meshnet" / "mindgrab")),
        "onnx": lambda: Trial("ONNX: multiaxial, axial", str(multiaxial(models, folder)), **own),
    }
    if chosen.nnunet:
        found["nnunet"] = lambda: Trial("nnU-Net, random weights", str(chosen.nnunet))
    if chosen.samseg:
        found["samseg"] = lambda: Trial("program: samseg", str(chosen.samseg), **own)
    if chosen.deepbet:
        found["deepbet"] = lambda: Trial(
            "program: deepbet", str(chosen.deepbet), brains, "mindgrab"
        )
    failing = {
        "fails": ("a program that fails", "raise SystemExit('no licence found')", {}),
        "hangs": (
            f"a program that hangs, limit {60 * _SHORT:g} s",
            "import time; time.sleep(600)",
            {"time_limit": _SHORT},
        ),
        "writes-nothing": ("a program that writes nothing", "pass", {}),
    }
    for key, (name, code, settings) in failing.items():
        given = _program(folder, key, code, **settings)
        found[key] = lambda name=name, given=given: Trial(name, given)  # type: ignore[misc]
    return found


def dice(found: LabelVolume, reference: LabelVolume) -> Row:
    """Dice of every structure that both label maps name: CSF, grey and white matter, or brain."""
    row: Row = {}
    for key, name in {**TISSUES, _BRAIN: _BRAIN}.items():
        values = [_value(one, key, name) for one in (found, reference)]
        if None in values:
            continue
        inside, other = found.array == values[0], reference.array == values[1]
        row[f"dice_{key}"] = 2 * float((inside & other).sum()) / float(inside.sum() + other.sum())
    return row


def _value(labels: LabelVolume, key: str, name: str) -> int | None:
    """The label that a map gives to a structure, by its name; "grey" stands for grey matter."""
    for one in labels.labels:
        if one.value and one.name.lower() in (key, name):
            return one.value
    return None


def measure(bench: Bench, trial: Trial) -> Row:
    """Run one row."""
    out = bench.folder / "out" / "labels_dseg.nii.gz"
    out.parent.mkdir()
    try:
        done, seconds = segmented(bench.scan, out, trial.given)
        left = sorted(path.name for path in out.parent.iterdir())
        row: Row = {"pair": bench.scan.name, "method": trial.name, "exit_code": done.returncode}
        row["seconds"] = seconds
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            shown = lines[-1].replace(sys.executable, "python")
            for known in (bench.folder, bench.scan.parent):
                shown = shown.replace(str(known), "FOLDER")
            return row | {"lines": len(lines), "files": len(left), "line": shown}
        labels, scan = files.read_labels(out), bench.volume()
        same = labels.shape == scan.shape and np.allclose(labels.affine, scan.affine, atol=1e-4)
        row |= {"on_the_grid": "yes" if same else "no", "compared_with": trial.compared_with}
        return row | (dice(labels, trial.reference()) if trial.reference else {})
    finally:
        for path in out.parent.iterdir():
            path.unlink()
        out.parent.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scan", type=Path, help="a T1; by default one of open_ms")
    parser.add_argument("--only", default="", help="names of rows")
    parser.add_argument("--nnunet", type=Path, help="a model folder of nnU-Net")
    parser.add_argument("--samseg", type=Path, help="a YAML file that describes the program")
    parser.add_argument("--deepbet", type=Path, help="a YAML file that describes the program")
    parser.add_argument("--save", default=NAME)
    chosen = parser.parse_args()
    scan = (chosen.scan or chosen.data / SCAN).absolute()
    if not scan.is_file():
        parser.error(f"{scan} is not there; legal: --scan FILE, or --data DIR with {SCAN}")

    with tempfile.TemporaryDirectory(prefix="chiasm-adapters-") as name:
        bench = Bench(scan, chosen.data / "foreign_models", Path(name))
        known = trials(bench, chosen)
        names = chosen.only.split(",") if chosen.only else list(known)
        if unknown := sorted({*names} - {*known}):
            parser.error(f"--only {','.join(unknown)}: legal: {','.join(known)}")
        rows = []
        for one in names:
            rows.append(measure(bench, known[one]()))
            print({key: cell(value) for key, value in rows[-1].items()}, flush=True)
    new = {row["method"] for row in rows}
    before = (results_before(chosen.save) or {"rows": []})["rows"]
    rows = [*(row for row in before if row["method"] not in new), *rows]
    table = Table(title="Segmenters behind --segmenter")
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in ("pair", "line")))
    for key in columns:
        table.add_column(key)
    for row in rows:
        table.add_row(*(cell(row.get(key)) for key in columns))
    Console(width=200).print(table)
    save(chosen.save, {"scan": "/".join(scan.parts[-2:])}, rows, rows)


if __name__ == "__main__":
    main()
