"""``chiasm info``: every name that an option accepts, or the scans of a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from chiasm.machine.terminal import say, warn


def catalogue() -> dict[str, Any]:
    """All names and their descriptions, as plain data. Imports no torch."""
    import chiasm
    from chiasm import registry
    from chiasm.image.modality import SUFFIXES

    def about(entries: registry.Registry) -> dict[str, str]:
        return {name: entry.about for name, entry in entries.items()}

    return {
        "version": chiasm.__version__,
        "models": _shipped("translator"),
        "segmenters": _shipped("segmenter") | _foreign(),
        "kinds of segmenters": about(registry.SEGMENTER_ADAPTERS),
        "methods": about(registry.METHODS),
        "method options": _options(),
        "guides": about(registry.GUIDES),
        "schedulers": about(registry.SCHEDULERS),
        "parameterisations": about(registry.PARAMETERISATIONS),
        "networks": about(registry.NETWORKS),
        "training methods": _trainings(),
        "file formats": about(registry.FORMATS),
        "modalities": list(SUFFIXES),
    }


def _options() -> dict[str, str]:
    from chiasm.methods.method import flag
    from chiasm.registry import METHODS

    options = {name: METHODS.load(name).options.model_fields for name in METHODS}
    return {name: ", ".join(map(flag, own)) or "none" for name, own in options.items()}


def _foreign() -> dict[str, str]:
    from chiasm.registry import SEGMENTERS

    return (
        {
            name: entry.about
            for name, entry in SEGMENTERS.items()
            if not hasattr(entry.load(), "build")
        }
        if len(SEGMENTERS) > 1
        else {}
    )


def _trainings() -> dict[str, str]:
    from chiasm.registry import METHODS, SEGMENTER_TRAININGS

    trained = {
        name: entry.about
        for name, entry in METHODS.items()
        if METHODS.load(name).objective is not None
    }
    return trained | {name: entry.about for name, entry in SEGMENTER_TRAININGS.items()}


def _shipped(kind: str) -> dict[str, str]:
    from chiasm import models

    configs = {name: models.peek(name) for name in models.shipped()}
    return {
        name: f"{config['method']}, {', '.join(config.get('targets') or [config['target']])}"
        for name, config in configs.items()
        if config["kind"] == kind
    }


def scans(path: Path) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The scans of a folder, an archive or a file, with what was left out and all errors.

    Returns
    -------
    scans : list of dict
        Input, modality and notes of each scan. A DICOM series also has its name, its number of
        voxels and its spacing in mm.
    left_out, errors : list of str
        Whole sentences, and messages of one line.
    """
    from chiasm.files.find import find_scans

    search = find_scans([path], dicom=True)
    found = []
    for scan in search.scans:
        one: dict[str, Any] = {"input": str(scan.path), "modality": scan.modality}
        if (series := scan.series) is not None:
            spacing = [round(float(mm), 4) for mm in series.spacing]
            one |= {"series": series.name, "voxels": list(series.shape), "spacing": spacing}
            if series.gaps is not None:
                scan = replace(scan, warnings=(*scan.warnings, f"{series.gaps}."))
        found.append(one | {"notes": list(scan.warnings)})
    return found, search.sentences(), [str(error) for error in search.errors]


def command(
    path: Annotated[
        Path | None,
        typer.Argument(help="A scan, or a folder or a zip archive whose scans are listed."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The lists are printed as JSON.")] = False,
) -> int:
    """List all names that options accept, or the scans and DICOM series of a folder."""
    if path is not None:
        return _tell(path, json_)
    found = catalogue()
    if json_:
        say(json.dumps(found, indent=2))
        return 0
    for section, content in found.items():
        if isinstance(content, dict):
            say(f"{section}:")
            for name, about in content.items():
                say(f"  {name:16s} {about}")
        else:
            say(f"{section}: {', '.join(content) if isinstance(content, list) else content}")
    return 0


def _tell(path: Path, as_json: bool) -> int:
    found, left_out, errors = scans(path)
    if as_json:
        say(json.dumps({"scans": found, "left_out": left_out, "errors": errors}, indent=2))
    for one in () if as_json else found:
        words = [one["input"], one["modality"] or "unknown modality"]
        if "series" in one:
            voxels, spacing = (
                "×".join(f"{n:g}" for n in one[key]) for key in ("voxels", "spacing")
            )
            words[1:1] = [f"series {one['series']}"]
            words += [f"{voxels} voxels of {spacing} mm"]
        say(", ".join(words))
        for note in one["notes"]:
            say(f"  {note}")
    if not as_json:
        for sentence in left_out:
            say(sentence)
        for message in errors:
            warn(f"chiasm: {message}")
    return 1 if errors else 0
