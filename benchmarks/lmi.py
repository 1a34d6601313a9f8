"""Local mutual information: time, memory and growth, beside its definition in the same run.

    python benchmarks/lmi.py [--largest 1024 --deepest 128] [--device cuda]
    python benchmarks/lmi.py --only maps [--subjects 4] [--data DIR]

Images are uniform noise, of which nothing can be skipped. Every case runs in a process of its own,
so that its peak of memory is its own: what is reported is above inputs, output and what is kept of
the source. The definition is what a reader would write in torch: patches unfolded, Parzen weights,
one batched product for each offset. Memory on the CPU is read from Linux' /proc: it runs on Linux
alone.

The second command compares the maps of sources with those of the T1, with uniform and with quantile
bins (`lmi_maps`). DIR is that of real.py. The results of the first command are kept in the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import chiasm.lmi
from chiasm.lmi import LMISettings
from chiasm.lmi.definition import parzen_weights
from chiasm.machine.progress import progress
from harness import results_before, save, save_part, show
from lmi_maps import COLUMNS as MAPS
from lmi_maps import measure_maps

COLUMNS = ("shape", "patch", "bins", "threads", "seconds", "memory_mb", "definition_seconds")
COLUMNS += ("ratio", "gflop", "share_of_peak", "difference")
# Pixels up to which the definition runs beside it; its memory is some kilobytes per pixel.
DEFINED = 2**16
# A logarithm (bits, a polynomial of degree 6) and p · log p, added up.
OPERATIONS_OF_A_BIN = 20


def definition(source: torch.Tensor, other: torch.Tensor, settings: LMISettings) -> torch.Tensor:
    """Best score of every pixel: (B, *spatial) images, all of a device's threads, no tricks."""
    axes, patch, search = source.ndim - 1, settings.patch_size, settings.search_size
    reach = patch // 2 + search // 2

    def patches(images: torch.Tensor, halo: int) -> torch.Tensor:
        padded = functional.pad(images[:, None], [halo] * 2 * axes, mode="replicate")[:, 0]
        for axis in range(1, axes + 1):
            padded = padded.unfold(axis, patch, 1)
        return padded

    def entropy(p: torch.Tensor) -> torch.Tensor:
        return -(p * torch.log2(p + 1e-30)).flatten(1).sum(1)

    def weights(some: torch.Tensor) -> torch.Tensor:
        return parzen_weights(some.reshape(source.numel(), -1), settings)

    wx = weights(patches(source, patch // 2))
    hx = entropy(wx.mean(1))
    around, best = patches(other, reach), torch.zeros_like(hx)
    for offset in np.ndindex(*(search,) * axes):
        place = tuple(slice(o, o + n) for o, n in zip(offset, source.shape[1:], strict=True))
        wy = weights(around[(slice(None), *place)])
        hy = entropy(wy.mean(1))
        joint = torch.bmm(wx.mT, wy) / wx.shape[1]
        score = 2 * (hx + hy - entropy(joint)) / (hx + hy)
        best = torch.maximum(best, score)
    return best.view(source.shape)


def _seconds(call: Callable[[], Any], device: str, at_least: float = 1.0) -> float:
    """Of the quickest of several calls."""
    best, spent = np.inf, 0.0
    while spent < at_least:
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best


def _resident(what: str) -> int:
    """VmRSS (now) or VmHWM (the most since it was forgotten) of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(what))
    return int(line.split()[1]) * 1024


def _peak_memory(call: Callable[[], torch.Tensor], device: str) -> float:
    """Bytes that a call takes beside its result."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        peak = torch.cuda.max_memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        result = call()
        peak = _resident("VmHWM")
    return max(peak - before - result.numel() * result.element_size(), 0)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Time, memory, and the definition's time and difference, of one case."""
    torch.set_num_threads(case["threads"])
    device = case["device"]
    generator = torch.Generator().manual_seed(0)
    source, other = (torch.rand(case["shape"], generator=generator) for _ in range(2))
    source, other = source.to(device), other.to(device)
    settings = LMISettings(patch_size=case["patch"], bins=case["bins"])
    arguments = {"patch_size": case["patch"], "bins": case["bins"]}
    # Compiles, or reads what was compiled, before anything is measured.
    small = tuple(slice(0, 8) for _ in source.shape)
    chiasm.lmi.prepare(source[small].contiguous(), **arguments)(other[small].contiguous())
    prepared = chiasm.lmi.prepare(source, **arguments)
    memory = _peak_memory(lambda: prepared(other), device)
    seconds = _seconds(lambda: prepared(other), device)
    pixels, axes, patch = source.numel(), source.ndim, case["patch"]
    # The engine's: a product for each row of the patch, sums along it, and one logarithm.
    each = 2 * patch ** (axes - 1) + patch - 1 + OPERATIONS_OF_A_BIN
    gflop = pixels * settings.search_size**axes * case["bins"] ** 2 * each / 1e9
    row = {**case, "shape": "×".join(map(str, source.shape)), "pixels": pixels}
    row |= {"seconds": seconds, "memory_mb": memory / 2**20, "gflop": gflop}
    row["share_of_peak"] = gflop / seconds / case["peak"]
    if case["define"] and pixels <= DEFINED:
        expected = torch.zeros_like(other)

        def define() -> None:
            expected.copy_(definition(source[None], other[None], settings)[0])

        took = _seconds(define, device)
        row["difference"] = float((prepared(other) - expected).abs().max())
        row |= {"definition_seconds": took, "ratio": took / seconds}
    return row


def peak_gflops(threads: int, device: str) -> float:
    """Float32 operations per nanosecond of a large matrix product, the machine's practical peak."""
    torch.set_num_threads(threads)
    a = torch.rand(2048, 2048, device=device)
    return 2 * 2048**3 / _seconds(lambda: a @ a, device) / 1e9


def growth(rows: Sequence[dict[str, Any]], axes: int, least: int) -> float | None:
    """Exponent of time in pixels, fitted to images of so many axes and at least so many pixels."""
    points = [
        (row["pixels"], row["seconds"])
        for row in rows
        if row["series"] == f"{axes}D" and row["pixels"] >= least
    ]
    if len(points) < 2:
        return None
    logarithms = np.log(np.array(points))
    return float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0])


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time over pixels, the engine's and the definition's."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    for series in ("2D", "3D"):
        here = [row for row in rows if row["series"] == series]
        for key, mark, name in (
            ("seconds", "o-", "chiasm"),
            ("definition_seconds", "x--", "torch"),
        ):
            shown = [(row["pixels"], row[key]) for row in here if row.get(key)]
            if shown:
                axes.loglog(*zip(*shown, strict=True), mark, label=f"{series}, {name}")
    axes.set(xlabel="pixels or voxels", ylabel="seconds per map", title="Uniform noise, 27 bins")
    axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1024)
    parser.add_argument("--deepest", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--plot", type=Path, help="write a plot of time over size here")
    parser.add_argument("--only", choices=("speed", "maps"), default="speed")
    parser.add_argument("--subjects", type=int, default=4, help="digital brains whose maps it is")
    parser.add_argument("--data", type=Path, help="real scans whose maps are compared too")
    parser.add_argument("--save", default="lmi")
    chosen = parser.parse_args()
    if chosen.only == "maps":
        lines = measure_maps(chosen.subjects, chosen.data)
        show("Maps of the source beside maps of the T1", lines, MAPS)
        save_part(chosen.save, "maps", {"subjects": chosen.subjects}, lines)
        return

    peaks = {n: peak_gflops(n, chosen.device) for n in {1, chosen.threads}}
    base = {"patch": 3, "bins": 27, "threads": chosen.threads, "device": chosen.device}
    base |= {"define": False}
    cases = [
        base | {"series": "2D", "shape": (n, n), "define": True}
        for n in (64, 128, 256, 512, 1024)
        if n <= chosen.largest
    ]
    cases += [
        base | {"series": "3D", "shape": (n, n, n), "define": True}
        for n in (32, 48, 64, 96, 128)
        if n <= chosen.deepest
    ]
    cases += [base | {"series": "patch", "shape": (128, 128), "patch": n} for n in (5, 7)]
    cases += [base | {"series": "bins", "shape": (128, 128), "bins": n} for n in (16, 64)]
    cases += [base | {"series": "threads", "shape": (128, 128), "threads": 1}]

    rows = []
    with progress("cases", len(cases)) as advance:
        for case in cases:
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                rows.append(pool.apply(measure, (case | {"peak": peaks[case["threads"]]},)))
            advance(1)
    lines = [{"pair": row["series"], "method": chosen.device, **row} for row in rows]
    show("Local mutual information, one map", lines, COLUMNS)
    facts = {
        "device": torch.cuda.get_device_name() if chosen.device == "cuda" else "cpu",
        "peak_gflops": peaks,
        "growth_2d": growth(rows, 2, 128**2),
        "growth_3d": growth(rows, 3, 32**3),
    }
    print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    left_out = ("plot", "only", "subjects", "data")
    settings = {key: value for key, value in vars(chosen).items() if key not in left_out}
    before = results_before(chosen.save)
    save(chosen.save, settings | facts, {"speed": lines}, [])
    if before and "maps" in before["summary"]:
        save_part(chosen.save, "maps", before["settings"]["maps"], before["summary"]["maps"])
    if chosen.plot:
        plot(rows, chosen.plot)


if __name__ == "__main__":
    main()
