"""Writes a model in another format, and compares what was written with the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from chiasm import files, models
from chiasm.errors import CaseError, UsageError, explain
from chiasm.export.bundle import write_bundle
from chiasm.export.step import OneInput, Step
from chiasm.export.volume import of_volumes
from chiasm.image.context import PLANES
from chiasm.models import Model

# The largest difference between the model and what was written, of outputs in [0, 1].
_TOLERANCE = 1e-4
_OPSET = 17  # of ONNX; it has everything that the networks use
_SLICES = 3  # in the inputs of the comparison


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    files : tuple of Path
    difference : float
        The largest difference from the model's outputs, which lie in [0, 1].
    """

    files: tuple[Path, ...]
    difference: float


def export_model(model: str | Path, to: str, output: Path, *, overwrite: bool = False) -> Exported:
    """Write a model in another format.

    Parameters
    ----------
    model : str or Path
        The name of a shipped model, or a model folder: a segmenter, or a translator that runs its
        network once.
    to : {"torchscript", "onnx", "bundle"}
    output : Path
        A file that ends with .ts or .onnx, beside which a YAML file is written, or the folder of a
        bundle.
    overwrite : bool
        Whether an earlier output is replaced.

    Raises
    ------
    UsageError
        The format is unknown, or the model runs its network in several steps.
    CaseError
        The output exists or cannot be written, or what was written differs from the model by more
        than 1e-4.
    """
    if to not in FORMATS:
        raise UsageError(explain("--to", to, "is not a format", ", ".join(FORMATS)))
    loaded = models.load(model, kind=None, argument="MODEL")
    step = Step(loaded)
    return FORMATS[to](loaded, step, Path(output), overwrite)


def _inputs(model: Model, step: Step, scale: int = 1) -> tuple[Tensor, Tensor]:
    """Random images and an unknown mapping; ``scale`` makes them larger along the last axis."""
    context, least = model.config.context, max(model.module.divisible_by, 32)
    sizes = [least] * context.spatial_dims
    sizes[-1] *= 1 + scale
    count = 1 if context.kind == "3d" else _SLICES * scale
    images = np.random.default_rng(scale).random((count, context.images, *sizes), np.float32)
    return torch.from_numpy(images), torch.full((1, max(step.nodes, 1)), 0.5)


def _traced(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that are constant, which _compared shows
        return torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]


def _compared(model: Model, step: Step, run: Callable[..., Any], output: Path) -> float:
    """The largest difference of what was written, on two sizes; `CaseError` if it is too large."""
    worst = 0.0
    for scale in (1, 2):
        inputs = _inputs(model, step, scale)
        with torch.no_grad():
            true = step(*inputs).numpy()
        made = np.asarray(run(*inputs))
        worst = max(worst, float(np.abs(made - true).max()))
    if worst > _TOLERANCE:
        problem = f"differs from the model by {worst:.2g}"
        raise CaseError(explain("-o", output, problem, f"at most {_TOLERANCE:g}"))
    return worst


def _torchscript(model: Model, step: Step, output: Path, overwrite: bool) -> Exported:
    settings = _check(output, (".ts",), overwrite)
    network = step if step.nodes else OneInput(step)
    used = 2 if step.nodes else 1
    traced = _traced(network, _inputs(model, step)[:used])
    with files.atomic(settings) as text, files.atomic(output) as draft:
        torch.jit.save(traced, str(draft))  # type: ignore[no-untyped-call]
        again = torch.jit.load(str(draft))  # type: ignore[no-untyped-call]

        def run(*inputs: Tensor) -> Any:
            with torch.no_grad():
                return again(*inputs[:used]).numpy()

        worst = _compared(model, step, run, output)
        text.write_text(_description(model, step, output), encoding="utf-8")
    return Exported((output, settings), worst)


def _onnx(model: Model, step: Step, output: Path, overwrite: bool) -> Exported:
    if not all(map(find_spec, ("onnx", "onnxruntime"))):
        problem = "needs onnx and onnxruntime, which are not installed"
        raise UsageError(explain("--to", "onnx", problem, "pip install 'chiasm[onnx]'"))
    import onnxruntime

    settings = _check(output, (".onnx",), overwrite)
    network = step if step.nodes else OneInput(step)
    names = ["image", "mapping"][: 2 if step.nodes else 1]
    inputs = _inputs(model, step)
    spatial = {2 + k: axis for k, axis in enumerate("xyz"[: model.config.context.spatial_dims])}
    free = {0: "batch"} | spatial
    with files.atomic(settings) as text, files.atomic(output) as draft:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                inputs[: len(names)],
                str(draft),
                input_names=names,
                output_names=["scores" if step.segments else "translation"],
                dynamic_axes={"image": free, "scores" if step.segments else "translation": free},
                opset_version=_OPSET,
                dynamo=False,
            )
        session = onnxruntime.InferenceSession(str(draft), providers=["CPUExecutionProvider"])

        def run(*inputs: Tensor) -> Any:
            given = zip(names, inputs, strict=False)
            return session.run(None, {name: one.numpy() for name, one in given})[0]

        worst = _compared(model, step, run, output)
        text.write_text(_description(model, step, output), encoding="utf-8")
    return Exported((output, settings), worst)


def _bundle(model: Model, step: Step, output: Path, overwrite: bool) -> Exported:
    _check_bundle(output, overwrite)
    traced = _traced(step, _inputs(model, step))

    def run(*inputs: Tensor) -> Any:
        with torch.no_grad():
            return traced(*inputs).numpy()

    worst = _compared(model, step, run, output)
    written = write_bundle(model, step, of_volumes(model, step, traced), output)
    return Exported(written, worst)


def _check_bundle(output: Path, overwrite: bool) -> None:
    if not output.is_dir():
        files.check_output(output, False)
    elif not overwrite:
        raise CaseError(explain("-o", output, "exists", "another name, or --overwrite"))
    elif not (output / "configs" / "metadata.json").is_file() and any(output.iterdir()):
        raise CaseError(explain("-o", output, "is no bundle", "a folder that can be replaced"))


def _check(output: Path, endings: tuple[str, ...], overwrite: bool) -> Path:
    """Check both outputs; returns the YAML file."""
    files.check_output(output, overwrite, suffixes=endings)
    return files.check_output(output.with_suffix(".yaml"), overwrite)


def _description(model: Model, step: Step, output: Path) -> str:
    """What goes into the network and what comes out, as YAML."""
    config, grid = model.config, model.config.grid
    described: dict[str, Any] = {"network": output.name, "name": model.name}
    # The grid's spacing is in the order (in plane, in plane, between slices).
    spacing = list(grid.spacing)
    if config.context.kind != "3d":
        spacing.insert(grid.slice_axis, spacing.pop())
    place: dict[str, Any] = {"orientation": grid.orientation}
    if config.context.kind != "3d":
        place["plane"] = _plane(model)
    place["spacing"] = spacing[0] if len({*spacing}) == 1 else spacing
    seen = {"range": ["p0.5", "p99.5"], "within": "foreground"}
    if step.segments:
        described |= {"modality": None if config.any_contrast else config.target}
        described |= {"brain_only": config.brain_only, **place, **seen}
        described["divisible_by"] = int(model.module.divisible_by)
        described["labels"] = {index: one.name for index, one in enumerate(config.labels)}
    else:
        assert config.intensity is not None  # the config of a translator has one
        made = ["translation", "expected error"][: 2 if model.module.gives_error else 1]
        described |= {"translates_to": config.target, "brain_only": config.brain_only, **place}
        described |= {**seen, "divisible_by": int(model.module.divisible_by)}
        described |= {"slices_seen": config.context.images, "outputs": made}
        described["units_of_output"] = {
            "at_0": config.intensity.low,
            "at_1": config.intensity.high,
            "units": config.intensity.units,
        }
        if step.nodes:
            described["mapping"] = f"{step.nodes} numbers, 0.5 everywhere if it is unknown"
    text: str = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
    return text


def _plane(model: Model) -> str:
    grid = model.config.grid
    way = grid.orientation[grid.slice_axis]
    return next(plane for plane, ways in PLANES.items() if way in ways)


FORMATS: dict[str, Callable[[Model, Step, Path, bool], Exported]] = {
    "torchscript": _torchscript,
    "onnx": _onnx,
    "bundle": _bundle,
}
