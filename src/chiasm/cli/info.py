"""``chiasm info``: every name that an option accepts."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from chiasm.machine.terminal import say


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


def command(
    json_: Annotated[bool, typer.Option("--json", help="The lists are printed as JSON.")] = False,
) -> int:
    """List the models, methods, segmenters, guides, file formats and all other known names."""
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
