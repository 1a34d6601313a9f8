"""Outputs in the ``derivatives`` folder of a BIDS dataset, as BIDS describes them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chiasm import files
from chiasm.errors import CaseError, explain

_BIDS_VERSION = "1.10.0"
_DESCRIPTION = "dataset_description.json"
# The name of the dataset of the scans in the URIs of sources.
_RAW = "raw"
_IGNORED = ".bidsignore"
_README = """# Chiasm derivatives

These images and label maps were computed by Chiasm. Images whose description says "synthetic" are
translations of other scans and were not acquired. Everything is for research and not for diagnosis.
"""


@dataclass(frozen=True)
class Derivatives:
    """A derivative dataset and the dataset whose scans it is made from.

    Parameters
    ----------
    folder, raw : Path
        The folder of the outputs, and the BIDS dataset above its folder ``derivatives``.
    """

    folder: Path
    raw: Path

    def begin(self) -> None:
        """Write the description of the dataset, unless Chiasm wrote it before.

        Raises
        ------
        CaseError
            The folder holds the dataset of another program, or cannot be written.
        """
        path = self.folder / _DESCRIPTION
        if path.exists():
            try:
                names = [one["Name"] for one in json.loads(path.read_text("utf-8"))["GeneratedBy"]]
            except (OSError, ValueError, KeyError, TypeError):
                names = []
            if "Chiasm" not in names:
                problem = "describes a dataset that Chiasm did not make"
                raise CaseError(explain("-o", path, problem, "another folder in derivatives"))
            return
        relative = Path(os.path.relpath(self.raw, self.folder)).as_posix()
        content = {
            "Name": f"Chiasm derivatives of {self.raw.resolve().name}",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "Chiasm", "Version": version("chiasm")}],
            "SourceDatasets": [{"URL": f"{relative}/"}],
            "DatasetLinks": {_RAW: f"{relative}/"},
        }
        for name, text in ((_IGNORED, ".chiasm/\n"), ("README.md", _README)):
            if not (self.folder / name).exists():
                files.write_text(self.folder / name, text)
        files.write_text(path, json.dumps(content, indent=2) + "\n")  # last: it marks the others

    def source(self, scan: Path) -> str:
        """The BIDS URI of a scan, or its path if it does not lie in the dataset."""
        place, raw = scan.resolve(), self.raw.resolve()
        if not place.is_relative_to(raw):
            return str(scan)
        return f"bids:{_RAW}:{place.relative_to(raw).as_posix()}"

    def sidecar(self, scan: Path, words: str, record: dict[str, Any], *, stripped: bool) -> str:
        """The JSON text beside an image: what it is, what it was made from, and how.

        It holds no times, so that a second run writes the same.

        Parameters
        ----------
        scan : Path
        words : str
            What the image is, as a sentence.
        record : dict
            The record of the case.
        stripped : bool
            Whether the image shows a brain alone.
        """
        kept = ("modality", "method", "model", "target", "options", "segmenter", "extractor")
        content = {
            "Description": words,
            "Sources": [self.source(scan)],
            "SpatialReference": "orig",
            "SkullStripped": stripped,
            "GeneratedBy": {"Name": "Chiasm", "Version": version("chiasm")},
            "Settings": {key: record[key] for key in kept if key in record},
            "Foreground": record.get("foreground"),
            "Warnings": list(record.get("warnings", ())),
        }
        return json.dumps(content, indent=2, default=str) + "\n"


def derivatives_of(output: Path, inputs: Sequence[Path]) -> Derivatives | None:
    """The derivative dataset, if the output is a folder in the derivatives of an input dataset.

    >>> derivatives_of(Path("study/derivatives/chiasm"), [Path("elsewhere")]) is None
    True
    """
    if output.absolute().parent.name != "derivatives":
        return None
    above = output.absolute().parent.parent
    for path in inputs:
        if path.is_dir() and path.resolve() == above.resolve():
            return Derivatives(output, path)
    return None
