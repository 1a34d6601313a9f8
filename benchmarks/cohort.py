"""What a cohort costs beside its networks: memory over many scans, own share, and two processes.

    python benchmarks/cohort.py --data SCAN [--modality T2] [--scans 500] [--only share]

SCAN is one brain or head with at least 40 axial slices. Every case of the cohort is a slab of it,
with other intensities, or the complete scan for the share.

- *memory*: `chiasm run` on all cases in one process. The resident memory of that process is read
  when a case is finished. The table has its median over the second tenth and over the last tenth of
  the cases, and how much it grew.
- *share*: complete scans in one process. Seconds inside networks are those of the outermost call of
  a torch module. All others are Chiasm's own: files, foreground, grids and labels.
- *workers*: the same cases by one and by two processes of Ray (pip install "chiasm[ray]") with one
  thread each. The rate is that between the first and the last finished case, so the start of Ray
  does not count.

Two processes need two idle cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from chiasm import files
from chiasm.image.volume import Volume
from chiasm.scoring.slices import axial_axis, take
from harness import cell, results_before, save

NAME = "cohort"
_SLAB = 4  # slices of a case
Row = dict[str, Any]


def write_cases(scan: Volume, folder: Path, count: int, slab: int | None = _SLAB) -> Path:
    """Write ``count`` scans that differ: slabs of a scan, or all of it, with other intensities."""
    folder.mkdir(parents=True)
    axis = axial_axis(scan)
    sums = scan.array.sum(axis=tuple(k for k in range(3) if k != axis))
    # The middle half of what shows most: slabs at the top would hold little brain.
    shown = np.flatnonzero(sums > np.median(sums[sums > sums.max() / 4]))
    for number in range(count):
        one = scan.with_array(scan.array * (1 + number / (10 * count)))
        if slab is not None:
            first = int(shown[number % (len(shown) - slab)])
            one = take(one, axis, range(first, first + slab))
        files.write(one, folder / f"sub-{number:04d}_{scan.modality}.nii.gz")
    return folder


def command(cases: Path, out: Path, *more: str) -> list[str]:
    """`chiasm run` in a process of its own, with one thread."""
    words = ("run", "-i", str(cases), "-o", str(out), "--threads", "1", *more)
    return [sys.executable, "-m", "chiasm", *words]


def finished(out: Path) -> list[Path]:
    """The label maps there, the first that was finished first."""
    return sorted(out.glob("*_dseg.nii.gz"), key=lambda path: path.stat().st_mtime_ns)


def memory(scan: Volume, folder: Path, count: int) -> Row:
    """Resident memory over the cases of one process."""
    cases, out = write_cases(scan, folder / "cases", count), folder / "out"
    resident: list[float] = []
    process = subprocess.Popen(command(cases, out), stdout=subprocess.DEVNULL)
    watched, done = psutil.Process(process.pid), 0
    while process.poll() is None:
        time.sleep(0.1)
        now = len(finished(out)) if out.exists() else 0
        if now > done:
            done = now
            resident.append(watched.memory_info().rss / 1e6)
    if process.returncode:
        raise SystemExit(f"chiasm run: exit code {process.returncode}")
    tenth = max(1, len(resident) // 10)
    early, late = np.median(resident[tenth : 2 * tenth]), np.median(resident[-tenth:])
    return {
        "measure": "memory",
        "scans": count,
        "early_mb": float(early),
        "late_mb": float(late),
        "growth": float(late / early - 1),
        "resident_mb": [round(one, 1) for one in resident],
    }


class NetworkTime:
    """Seconds inside torch modules, counted from their outermost call."""

    def __init__(self) -> None:
        self.seconds, self.depth, self.since = 0.0, 0, 0.0

    def enter(self, *_: Any) -> None:
        if self.depth == 0:
            self.since = time.perf_counter()
        self.depth += 1

    def leave(self, *_: Any) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.seconds += time.perf_counter() - self.since


def share(scan: Volume, folder: Path, count: int) -> Row:
    """The share of a case that is not spent in networks, once the models are loaded."""
    import torch
    from torch.nn.modules import module

    from chiasm.image.foreground import foreground_mask
    from chiasm.methods.load import load_translator
    from chiasm.pipeline import Pipeline
    from chiasm.registry import DEFAULT_MODEL, DEFAULT_SEGMENTER
    from chiasm.segmenters.load import load_segmenter

    cases = sorted(write_cases(scan, folder / "cases", count + 1, None).iterdir())
    torch.set_num_threads(1)
    pipeline = Pipeline(load_translator(DEFAULT_MODEL), load_segmenter(DEFAULT_SEGMENTER))
    clock = NetworkTime()
    hooks = (
        module.register_module_forward_pre_hook(clock.enter),
        module.register_module_forward_hook(clock.leave),
    )
    rows = []
    for number, path in enumerate(cases):
        clock.seconds, begin = 0.0, time.perf_counter()
        read = files.read(path, modality=scan.modality)
        made = pipeline.process(read, foreground_mask(read))
        assert made.translation is not None  # the pipeline has a translator and a segmenter
        assert made.labels is not None
        files.write(made.translation, folder / f"{number}_T1w.nii.gz")
        files.write(made.labels, folder / f"{number}_dseg.nii.gz")
        if number:  # the first loads the models
            rows.append((time.perf_counter() - begin, clock.seconds))
    for hook in hooks:
        hook.remove()
    total, inside = np.mean(rows, axis=0)
    return {
        "measure": "share",
        "scans": count,
        "seconds": float(total),
        "network_seconds": float(inside),
        "own_share": float(1 - inside / total),
    }


def workers(scan: Volume, folder: Path, count: int) -> Row:
    """Cases per hour by one and by two processes."""
    cases, rates = write_cases(scan, folder / "cases", count), []
    for number in (1, 2):
        out = folder / f"out{number}"
        words = command(cases, out, "--executor", "ray", "--workers", str(number))
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        ends = [path.stat().st_mtime for path in finished(out)]
        rates.append(3600 * (len(ends) - 1) / (ends[-1] - ends[0]))
    return {
        "measure": "workers",
        "scans": count,
        "per_hour_1": rates[0],
        "per_hour_2": rates[1],
        "linear": rates[1] / rates[0] / 2,
    }


MEASURES: dict[str, tuple[Callable[[Volume, Path, int], Row], int]] = {
    "memory": (memory, 1),
    "share": (share, 100),
    "workers": (workers, 5),
}


def measured(scan: Volume, chosen: Sequence[str], scans: int) -> list[Row]:
    """The rows of these measures; ``scans`` is the number of cases of the first."""
    rows = []
    for name in chosen:
        measure, fewer = MEASURES[name]
        folder = Path(tempfile.mkdtemp(prefix="chiasm-cohort-"))
        try:
            rows.append(measure(scan, folder, max(3, scans // fewer)))
        finally:
            shutil.rmtree(folder)
        print({key: cell(value) for key, value in rows[-1].items() if key != "resident_mb"})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="SCAN")
    parser.add_argument("--modality", default="T2")
    parser.add_argument("--scans", type=int, default=500)
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--save", default=NAME)
    chosen = parser.parse_args()
    names = chosen.only.split(",")
    if unknown := sorted({*names} - {*MEASURES}):
        parser.error(f"--only {','.join(unknown)}: legal: {','.join(MEASURES)}")

    scan = files.read(chosen.data, modality=chosen.modality)
    rows = measured(scan, names, chosen.scans)
    before = (results_before(chosen.save) or {"rows": []})["rows"]
    rows = [*(one for one in before if one["measure"] not in names), *rows]
    table = Table(title="Cohorts")
    for key in ("measure", "figures"):
        table.add_column(key)
    for row in rows:
        shown = (f"{key} {cell(value)}" for key, value in row.items())
        kept = [one for one in shown if not one.startswith(("measure", "resident_mb"))]
        table.add_row(row["measure"], ", ".join(kept))
    Console(width=140).print(table)
    settings = {"scan": chosen.data.name, "modality": chosen.modality, "cpus": os.cpu_count()}
    lines = [{key: one for key, one in row.items() if key != "resident_mb"} for row in rows]
    save(chosen.save, settings, lines, rows)


if __name__ == "__main__":
    main()
