"""Local mutual information: time and memory, beside the definition written plainly in torch.

    python benchmarks/lmi.py [--sizes 64,128] [--volumes 32] [--images FILE.npz]

Every case runs in a process of its own, on the CPU and, if there is one, on the CUDA device. With
``--images``, a file that holds ``t2`` and ``xt``, real images are measured beside uniform noise.
Results go to benchmarks/results/lmi.json and docs/images/lmi.png (which needs matplotlib).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chiasm.lmi import prepare

PLOT = Path(__file__).resolve().parent.parent / "docs" / "images" / "lmi.png"
# Pixels of all patches together, beyond which the definition does not fit into memory.
DEFINITION_PIXELS = {"cpu": 2**20, "cuda": 2**23}
COLUMNS = ("device", "image", "shape", "patch", "search", "bins", "threads", "seconds")
COLUMNS += ("definition_seconds", "ratio", "megabytes", "definition_megabytes", "gflops", "of_peak")


def definition(source: Tensor, other: Tensor, patch: int, search: int, bins: int, bandwidth: float):
    """Unfold both images, weigh every patch, one matrix product per pixel and offset."""
    axes = source.ndim
    centres = torch.linspace(0, 1, bins, device=source.device)

    def padded(image: Tensor, width: int) -> Tensor:
        return functional.pad(image[None, None], [width] * 2 * axes, mode="replicate")[0, 0]

    def weights(image: Tensor) -> Tensor:
        for axis in range(axes):
            image = image.unfold(axis, patch, 1)
        values = image.reshape(source.numel(), patch**axes, 1)
        return torch.softmax(-0.5 * ((values - centres) / bandwidth) ** 2, dim=-1)

    def bits(p: Tensor) -> Tensor:
        return -(p * torch.log2(p + 1e-10)).flatten(1).sum(1)

    wx = weights(padded(source.clamp(0, 1), patch // 2))
    hx, best = bits(wx.mean(1)), torch.full((source.numel(),), -torch.inf, device=source.device)
    window = padded(other.clamp(0, 1), patch // 2 + search // 2)
    for corner in itertools.product(range(search), repeat=axes):
        inside = tuple(
            slice(c, c + n + patch - 1) for c, n in zip(corner, source.shape, strict=True)
        )
        wy = weights(window[inside])
        joint = torch.bmm(wx.transpose(1, 2), wy) / patch**axes
        total = hx + bits(wy.mean(1))
        best = torch.maximum(best, 2 * (total - bits(joint)) / total)
    return best.view(source.shape)


def operations(shape: Sequence[int], patch: int, search: int, bins: int) -> float:
    """Float32 operations of the engine where no bin can be left out.

    For each pair of bins: the product of every row of a patch (2), their sums along the row, and
    p log2 p: 5 to take p apart, a polynomial of degree 6 (12), two products that are added up (4).
    """
    axes = len(shape)
    each = 2 * patch ** (axes - 1) + (patch - 1) + 21
    return float(np.prod(shape)) * search**axes * bins**2 * each


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _seconds(run: Callable[[], Any], device: str, least: float, most: int) -> float:
    """Shortest time of a run, repeated for so many seconds."""
    times: list[float] = []
    while sum(times) < least and len(times) < most:
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _megabytes(run: Callable[[], Any], device: str) -> float:
    """Most memory that a run takes beside what there was."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        _wait(device)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1.024e-3
    refs.write_text("5")  # forgets the highest mark so far

    def kilobytes(name: str) -> int:
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    before = kilobytes("VmRSS:")
    run()
    return (kilobytes("VmHWM:") - before) * 1.024e-3


def _peak(device: str) -> float:
    """Float32 operations a second of a large matrix product."""
    size = 2048 if device == "cpu" else 8192
    matrix = torch.rand(size, size, device=device)
    matrix @ matrix
    return 2 * size**3 / _seconds(lambda: matrix @ matrix, device, least=1, most=20)


def measure(case: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    torch.set_num_threads(case["threads"])
    torch.backends.cuda.matmul.allow_tf32 = False
    device, patch, search, bins = (case[key] for key in ("device", "patch", "search", "bins"))
    shape, bandwidth = case["shape"], case["bandwidth"]
    settings = {
        "patch_size": patch,
        "search_size": search,
        "bins": bins,
        "bandwidth": bandwidth,
    }
    if case["file"]:
        stored = np.load(case["file"])
        images = [torch.from_numpy(stored[name].astype(np.float32)) for name in ("t2", "xt")]
    else:
        generator = torch.Generator().manual_seed(0)
        images = [torch.rand(shape, generator=generator) for _ in range(2)]
    source, other = (image.to(device) for image in images)

    small = (slice(0, 8),) * source.ndim
    prepare(source[small].contiguous(), **settings)(other[small].contiguous())  # compiles
    prepared = prepare(source, **settings)
    row = dict(case) | {"megabytes": _megabytes(lambda: prepared(other), device)}
    row["seconds"] = _seconds(lambda: prepared(other), device, least=case["least"], most=50)
    row["peak_gflops"] = _peak(device) / 1e9
    row["gflops"] = operations(shape, patch, search, bins) / row["seconds"] / 1e9
    row["of_peak"] = row["gflops"] / row["peak_gflops"]
    if case["definition"]:

        def plain() -> Tensor:
            return definition(source, other, patch, search, bins, bandwidth)

        row["definition_megabytes"] = _megabytes(plain, device)
        row["definition_seconds"] = _seconds(plain, device, least=case["least"], most=5)
        row["ratio"] = row["definition_seconds"] / row["seconds"]
        row["difference"] = float((plain() - prepared(other)).abs().max())
    return row


def cases(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything that is measured."""
    numbers = {
        name: [int(n) for n in getattr(chosen, name).split(",") if n]
        for name in ("sizes", "volumes", "patches", "bins", "threads")
    }
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    most = torch.get_num_threads()
    common = {
        "image": "noise", "file": None, "patch": 3, "search": 3, "bins": 27,
        "bandwidth": 8 / 255, "threads": most, "least": chosen.seconds,
    }  # fmt: skip
    found = []
    for device in devices:
        here = common | {"device": device}
        if chosen.images:
            shape = np.load(chosen.images)["t2"].shape
            found.append(here | {"image": "t2, xt", "file": chosen.images, "shape": shape})
        found += [here | {"shape": (n, n)} for n in numbers["sizes"]]
        found += [here | {"shape": (n, n, n)} for n in numbers["volumes"]]
        flat, deep = {"shape": (chosen.side,) * 2}, {"shape": (chosen.depth,) * 3}
        for patch in numbers["patches"]:
            found += [here | shape | {"patch": patch} for shape in (flat, deep)]
        for bins in numbers["bins"]:
            # The kernel keeps its width in bins.
            found.append(here | flat | {"bins": bins, "bandwidth": 8 / 255 * 26 / (bins - 1)})
        if device == "cpu":
            found += [here | flat | {"threads": threads} for threads in numbers["threads"]]
    unique = {json.dumps(case): case for case in found}.values()
    for case in unique:
        pixels = float(np.prod(case["shape"])) * case["patch"] ** len(case["shape"])
        case["definition"] = pixels <= DEFINITION_PIXELS[case["device"]]
    return list(unique)


def exponents(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Growth of the time with the number of pixels, on noise, from 128² and 32³ up."""
    fits = []
    for device, (axes, least) in itertools.product(("cpu", "cuda"), ((2, 128), (3, 32))):
        sides = [
            (row["shape"][0], row["seconds"])
            for row in rows
            if (row["device"], len(row["shape"]), row["image"]) == (device, axes, "noise")
            and row["shape"][0] >= least
            and (row["patch"], row["search"], row["bins"]) == (3, 3, 27)
            and row["threads"] == max(other["threads"] for other in rows)
        ]
        if len(dict(sides)) > 1:
            side, seconds = np.log(np.array(sides)).T
            slope = float(np.polyfit(axes * side, seconds, 1)[0])
            fits.append({"device": device, "axes": axes, "exponent": slope})
    return fits


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    def cell(value: Any) -> str:
        if isinstance(value, list | tuple):
            return "×".join(map(str, value))
        return f"{value:.3g}" if isinstance(value, float) else str("" if value is None else value)

    table = Table(title="Local mutual information")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(cell(row.get(name)) for name in COLUMNS))
    Console(width=220).print(table)


def plot(rows: Sequence[Mapping[str, Any]]) -> None:
    """Time against the number of pixels, ours and the definition's."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    usual = [row for row in rows if row["image"] == "noise"]
    usual = [row for row in usual if (row["patch"], row["search"], row["bins"]) == (3, 3, 27)]
    most = max(row["threads"] for row in usual)
    for device, dimensions in itertools.product(("cpu", "cuda"), (2, 3)):
        for key, style in (("seconds", "o-"), ("definition_seconds", "s:")):
            points = sorted(
                (int(np.prod(row["shape"])), row[key])
                for row in usual
                if row["device"] == device and len(row["shape"]) == dimensions
                and row["threads"] == most and key in row
            )  # fmt: skip
            if points:
                what = "definition" if key.startswith("definition") else "chiasm"
                label = f"{what}, {dimensions}D, {device}"
                axes.loglog(*zip(*points, strict=True), style, label=label)
    axes.set_xlabel("pixels")
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=110)
    print(f"saved {PLOT.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="64,128,256,512,1024", help="sides of square images")
    parser.add_argument("--volumes", default="32,64,96,128", help="sides of cubes")
    parser.add_argument("--patches", default="3,5,7", help="patch sizes")
    parser.add_argument("--bins", default="8,16,27,64", help="numbers of bins")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--side", type=int, default=128, help="image for patches, bins, threads")
    parser.add_argument("--depth", type=int, default=32, help="cube for patches")
    parser.add_argument("--images", help="file of t2 and xt")
    parser.add_argument("--seconds", type=float, default=2, help="for which a case is repeated")
    parser.add_argument("--save", default="lmi")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(measure(json.loads(chosen.case))))
        return

    from harness import save

    rows = []
    for case in cases(chosen):
        command = [sys.executable, __file__, "--case", json.dumps(case)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        shown = {key: rows[-1].get(key) for key in ("device", "shape", "patch", "bins", "seconds")}
        print(shown, f"ratio {rows[-1].get('ratio', float('nan')):.0f}", flush=True)
    show(rows)
    summary = exponents(rows)
    for line in summary:
        print(line)
    facts = dict(vars(chosen)) | {"images": bool(chosen.images)}
    if torch.cuda.is_available():
        facts["cuda"] = torch.cuda.get_device_name()
    for row in rows:
        row["file"] = bool(row["file"])
    save(chosen.save, facts, summary, rows)
    plot(rows)


if __name__ == "__main__":
    main()
