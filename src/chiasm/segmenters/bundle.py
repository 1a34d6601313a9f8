"""A folder in the format of MONAI bundles, run in a process of its own."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from chiasm.errors import UsageError, explain
from chiasm.image.modality import known_modality
from chiasm.segmenters.command import CommandSegmenter, Program

METADATA, CONFIGS = "configs/metadata.json", ("inference.json", "inference.yaml", "inference.yml")


class BundleSegmenter(CommandSegmenter):
    """Runs the transforms, the network and the inferer of a bundle's inference config.

    ``configs/metadata.json`` tells the labels, and the modality if it has a known name. A bundle
    may run any code of its own, so only name folders that you trust.
    """

    def _program(self, given: str | Path) -> Program:
        argument, self.folder = self.argument, Path(given).resolve()
        path = self.folder / METADATA
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            data = content["network_data_format"]
            seen, made = data["inputs"]["image"], data["outputs"]["pred"]
            channels = int(seen["num_channels"])
            labels = _labels(made["channel_def"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            legal = "a metadata.json with network_data_format, its image and its pred"
            raise UsageError(explain(argument, path, "cannot be read", legal)) from None
        if channels != 1:
            problem = f"needs {channels} images"
            raise UsageError(explain(argument, given, problem, "a bundle of one modality"))
        words = [sys.executable, "-m", "chiasm.segmenters.bundle_process", str(self.folder)]
        command = " ".join(_escaped(shlex.quote(one)) for one in words)
        return Program(
            command=f"{command} {{input}} {{output_folder}} {{device}}",
            name=str(content.get("name") or self.folder.name),
            modality=known_modality(str(seen.get("modality", ""))),
            labels=labels,
        )

    @staticmethod
    def recognises(given: str) -> bool:
        """Whether this is a folder with the configs of a bundle."""
        folder = Path(given)
        return (folder / METADATA).is_file() and inference_of(folder) is not None

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "bundle": str(self.folder)}


def inference_of(folder: Path) -> Path | None:
    """The inference config of a bundle; None if it has none."""
    found = (folder / "configs" / name for name in CONFIGS)
    return next((path for path in found if path.is_file()), None)


def _labels(channels: dict[str, str]) -> dict[int, str]:
    return {int(index): str(name) for index, name in channels.items()}


def _escaped(word: str) -> str:
    """A word of a command line with placeholders."""
    return word.replace("{", "{{").replace("}", "}}")
