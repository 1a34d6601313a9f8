"""Process many scans one after another. An error of one scan does not stop the others."""

from __future__ import annotations

import json
import logging
import platform
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chiasm import files
from chiasm.cohort.plan import Case
from chiasm.errors import CaseError, ChiasmError
from chiasm.files.dicom.derived import Making
from chiasm.files.dicom.image import write_series
from chiasm.files.dicom.segmentation import write_segmentation
from chiasm.image.volume import Volume
from chiasm.machine.terminal import say, warn
from chiasm.pipeline import Pipeline, Result

_log = logging.getLogger("chiasm")
_LIBRARIES = ("chiasm", "torch", "monai", "diffusers", "numpy", "scipy", "scikit-image")


@dataclass(frozen=True)
class Task:
    """A case and the pipeline that processes it.

    Attributes
    ----------
    case : Case
    pipeline : Pipeline
    given : mapping
        Further arguments of the pipeline: mask, modality and spacing.
    """

    case: Case
    pipeline: Pipeline
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> tuple[Path, ...]:
        """Every file that is written: the outputs, and the table beside a label map."""
        outputs = self.case.outputs
        if self.pipeline.segmenter is None or self.case.dicom:
            return outputs
        labels = outputs[0 if self.pipeline.translator is None else 1]
        return (*outputs, labels.with_name(f"{files.stem(labels)}.tsv"))


def failure(error: BaseException) -> CaseError:
    """Turn any error of one scan into a `CaseError` with a message of one line.

    An unexpected error is reported with its type. A lack of memory has a message of its own,
    because another scan may still fit.
    """
    if isinstance(error, CaseError):
        return error
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, ChiasmError):
        return CaseError(text)
    if _out_of_memory(error):
        return CaseError(
            f"the scan does not fit the memory that is free ({text}); legal: a smaller scan, a "
            "smaller --batch, or a machine with more memory"
        )
    kind = type(error).__name__
    return CaseError(
        f"the scan could not be processed ({kind}: {text}); this is an error in Chiasm"
    )


def _out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate", "cannot allocate", "bad_alloc", "bad allocation")
    return isinstance(error, MemoryError) or any(one in str(error).lower() for one in words)


def run_tasks(
    tasks: Sequence[Task],
    errors: Sequence[CaseError],
    *,
    settings: Mapping[str, Any],
    left_out: Sequence[str] = (),
    overwrite: bool = False,
    report: Path | None = None,
) -> int:
    """Process every task. A task that fails is reported on stderr, and the others are still done.

    The report is also written if scans fail or the run is interrupted.

    Parameters
    ----------
    tasks : sequence of Task
    errors : sequence of CaseError
        Errors of inputs that failed before any task was planned.
    settings : mapping
        The settings of the command, for the report.
    left_out : sequence of str
        Whole sentences that say which files of the input folders are not processed.
    overwrite : bool
        Whether existing outputs are replaced.
    report : Path, optional
        The JSON file for the report.

    Returns
    -------
    int
        The exit code: 1 if any scan failed, otherwise 0.

    Raises
    ------
    CaseError
        The report cannot be written. This is checked before any scan is processed.
    """
    if report is not None:
        files.check_output(report, overwrite, argument="--report")
    failed = [str(error) for error in errors]
    records: list[dict[str, Any]] = []
    for sentence in left_out:
        warn(f"chiasm: {sentence}")
    for message in failed:
        warn(f"chiasm: {message}")
    warned: set[str] = set()
    finished = False
    try:
        for number, task in enumerate(tasks, start=1):
            record, error = _done(task, overwrite, warned)
            records.append(record)
            if error is not None:
                failed.append(error)
                warn(f"chiasm: {error}")
                continue
            outputs = ", ".join(record["outputs"])
            say(f"[{number}/{len(tasks)}] {task.case.source} -> {outputs}")
        finished = True
    finally:
        if report is not None:
            content = {
                "chiasm": version("chiasm"),
                "versions": _versions(),
                "command": sys.argv[1:],
                "settings": dict(settings),
                "finished": finished,
                "left_out": list(left_out),
                "cases": records,
                "failed": failed,
            }
            text = json.dumps(content, indent=2, default=_plain) + "\n"
            files.write_text(report, text, overwrite=overwrite, argument="--report")
    return 1 if failed else 0


def _done(task: Task, overwrite: bool, warned: set[str]) -> tuple[dict[str, Any], str | None]:
    """Process one task. Return its record, and its error in one line if it failed."""
    case, pipeline, scan = task.case, task.pipeline, task.case.scan
    source = case.source
    record: dict[str, Any] = {"input": source}
    if scan.series is not None:
        record["series"] = {"uid": scan.series.uid, "slices": scan.series.shape[2]}
    try:
        for path in task.written:
            if case.dicom and path.suffix != ".dcm":
                files.check_folder(path, overwrite, ending=".dcm")
            else:
                files.check_output(path, overwrite)
        result = pipeline(scan.image, warnings=scan.warnings, **task.given)
        for warning in result.warnings:
            if (line := f"chiasm: warning: {source}: {warning}") not in warned:
                warned.add(line)
                warn(line)
        translated = pipeline.translator is not None or scan.made_by_chiasm
        mark: files.Mark = "synthetic" if translated else "segmentation"
        like = scan.path if scan.series is None else None
        for place, (image, path) in enumerate(zip(result.images, case.outputs, strict=True), 1):
            if case.dicom:
                made = _making(task, result, files.words_of(mark), place)
                if isinstance(image, Volume):
                    write_series(image, path, made, overwrite=overwrite)
                else:
                    write_segmentation(image, path, made, overwrite=overwrite)
            else:
                files.write(image, path, overwrite=overwrite, mark=mark, like=like)
    except Exception as error:
        known = failure(error)
        if not isinstance(error, ChiasmError):
            record["traceback"] = traceback.format_exc()
            _log.debug("%s", record["traceback"])
        message = str(known)
        if not any(str(path) in message for path in (source, *case.outputs)):
            message = f"-i {source}: {message}"
        return record | {"error": message}, message
    outputs = [str(path) for path in case.outputs]
    return record | {"outputs": outputs, **pipeline.settings(), **result.record}, None


def _making(task: Task, result: Result, mark: str, place: int) -> Making:
    """How an output of a DICOM series was made, in words for its headers and for its UIDs."""
    pipeline, series = task.pipeline, task.case.scan.series
    assert series is not None
    known, settings = result.record.get("modality") or "a scan", pipeline.settings()
    steps, words = [], "segmentation"
    if pipeline.translator is not None:
        model, method = pipeline.translator.model, settings["method"]
        steps.append(f"translated from {known} to {model.config.target} by {model.name} ({method})")
        words = f"synthetic {model.config.target}"
    if pipeline.segmenter is not None:
        steps.append(f"segmented by {pipeline.segmenter.name}")
    kinds = (
        (result.translation, words),
        (result.labels, "segmentation" if pipeline.translator is None else f"labels of {words}"),
        (result.deviation, f"deviation of {words}"),
        (result.expected_error, f"expected error of {words}"),
    )
    named = [name for image, name in kinds if image is not None][place - 1]
    sentence = f"The scan was {' and '.join(steps)}. It is for research and not for diagnosis."
    facts = {**settings, "modality": known, "interpolate": task.given.get("interpolate", False)}
    return Making(series, mark, named, sentence, facts, place)


def _plain(value: Any) -> Any:
    """A value of a record that JSON does not know: NumPy's as numbers, any other as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}
