"""``chiasm info``: every name that an option accepts."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def catalogue() -> dict[str, Any]:
    """Names and what they are, as plain data; imports no torch."""
    import chiasm
    from chiasm import registry
    from chiasm.modality import SUFFIXES

    def about(entries: registry.Registry) -> dict[str, str]:
        return {name: entry.about for name, entry in entries.items()}

    return {
        "version": chiasm.__version__,
        "models": _shipped("translator"),
        "segmenters": _shipped("segmenter"),
        "translators": about(registry.TRANSLATORS),
        "guides": about(registry.GUIDES),
        "schedulers": about(registry.SCHEDULERS),
        "parameterisations": about(registry.PARAMETERISATIONS),
        "networks": about(registry.NETWORKS),
        "training methods": about(registry.OBJECTIVES),
        "modalities": list(SUFFIXES),
    }


def _shipped(kind: str) -> dict[str, str]:
    from chiasm import models

    configs = {name: models.peek(name) for name in models.shipped()}
    return {
        name: f"{config['method']}, {', '.join(config.get('targets') or [config['target']])}"
        for name, config in configs.items()
        if config["kind"] == kind
    }


def command(
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """List models, translators, segmenters, guides and schedulers."""
    found = catalogue()
    if json_:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for section, content in found.items():
        if isinstance(content, dict):
            print(f"{section}:")
            for name, about in content.items():
                print(f"  {name:16s} {about}")
        else:
            print(f"{section}: {', '.join(content) if isinstance(content, list) else content}")
    return 0
