"""The record of a finished case, by which a later run knows that it need not be done again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chiasm import files
from chiasm.errors import CaseError
from chiasm.files.find import mask_beside

if TYPE_CHECKING:
    from chiasm.cohort.run import Task

# The hidden folder of the records, in the output folder.
RECORDS = ".chiasm"
# The endings of tables and descriptions beside an image.
_BESIDE = (".tsv", ".json")


class Records:
    """The records of the finished cases of an output folder.

    A record holds the checksums of the outputs, and everything that they depend on: the checksums
    of the scan and of its mask, the models and the settings. It holds no times.

    Parameters
    ----------
    output : Path
        The output folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output

    def path(self, task: Task) -> Path:
        """The file of the record of a case."""
        first = task.case.outputs[0].relative_to(self.output)
        return self.output / RECORDS / f"{first}.json"

    def write(self, task: Task, facts: dict[str, Any]) -> None:
        """Record a case whose outputs are complete. ``facts`` were taken before it was done."""
        content = {**facts, "outputs": self._checksums(task)}
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        files.write_text(self.path(task), text, overwrite=True)

    def read(self, task: Task) -> dict[str, Any]:
        """The record of a case; empty if there is none or it cannot be read."""
        try:
            found = json.loads(self.path(task).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def is_finished(self, task: Task, facts: dict[str, Any]) -> bool:
        """Whether the outputs are those of a finished run with the same facts."""
        found = self.read(task)
        outputs = found.pop("outputs", None)
        return bool(outputs) and found == facts and outputs == self._checksums(task)

    def may_be_replaced(self, task: Task) -> bool:
        """Whether all outputs that exist were made by Chiasm, so that they can be made anew."""
        known = self.read(task).get("outputs", {})
        return all(
            not path.exists() or self._name(path) in known or _is_ours(path)
            for path in task.written
        )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()

    def _checksums(self, task: Task) -> dict[str, str | None]:
        return {self._name(path): checksum(path) for path in task.written}


def facts_of(task: Task) -> dict[str, Any]:
    """What the outputs of a case depend on, in a form that JSON gives back unchanged.

    Raises
    ------
    CaseError
        The scan or its mask cannot be read.
    """
    scan, mask = task.case.scan, task.given.get("mask")
    if mask is None and scan.series is None and task.pipeline.extractor is None:
        mask = mask_beside(scan.path)
    sources: dict[str, str | None] = {path.name: checksum(path) for path in scan.files}
    if scan.series is not None and len(sources) > 1:
        whole = json.dumps(sources, sort_keys=True).encode()
        sources = {scan.series.uid: hashlib.sha256(whole).hexdigest()}
    facts = {
        "source": sources,
        "mask": None if mask is None else checksum(Path(mask)),
        "pipeline": task.pipeline.settings(),
        "given": {key: value for key, value in task.given.items() if key != "mask"},
    }
    made: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return made


def checksum(path: Path) -> str | None:
    """The SHA-256 of a file, or of the names and contents of a folder's files; None if absent."""
    try:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            known = {one.relative_to(path).as_posix(): checksum(one) for one in inside}
            return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        legal = "a file that you are allowed to read"
        raise CaseError(f"{path}: cannot be read ({error.strerror}); legal: {legal}") from None


def _is_ours(path: Path) -> bool:
    """Whether a file or a folder of DICOM was made by Chiasm."""
    if path.suffix in _BESIDE:
        # They have no mark. They belong to the image beside them, if that is ours.
        images = [one for one in path.parent.glob(f"{path.stem}.*") if one.suffix not in _BESIDE]
        return bool(images) and all(map(_is_ours, images))
    if path.is_dir():
        inside = sorted(path.iterdir())
        return all(one.suffix == ".dcm" for one in inside) and all(map(_is_ours, inside[:1]))
    if path.suffix == ".dcm":
        from chiasm.files.dicom.part import Part

        try:
            comments = Part(path).header(["ImageComments"]).get("ImageComments")
        except CaseError:
            return False
        return files.said_by_chiasm(str(comments or ""))
    return files.made_by_chiasm(path)
