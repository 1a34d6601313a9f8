"""Process many scans one after another. An error of one scan does not stop the others."""

from __future__ import annotations

import logging
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from chiasm import files
from chiasm.cohort.derivatives import Derivatives
from chiasm.cohort.plan import Case
from chiasm.cohort.record import Records, facts_of
from chiasm.cohort.report import write_report
from chiasm.errors import CaseError, ChiasmError
from chiasm.files.dicom.derived import Making
from chiasm.files.dicom.image import write_series
from chiasm.files.dicom.segmentation import write_segmentation
from chiasm.image.foreground import looks_unstripped
from chiasm.image.volume import Volume
from chiasm.machine.stop import Stopped, stoppable
from chiasm.machine.terminal import say, warn
from chiasm.pipeline import Pipeline, Result

_log = logging.getLogger("chiasm")
# Seconds of a run after which its lines tell the time that is left.
_TELL_TIME_AFTER = 30.0
_LIBRARIES = ("chiasm", "torch", "monai", "diffusers", "numpy", "scipy", "scikit-image")


@dataclass(frozen=True)
class Task:
    """A case and the pipeline that processes it.

    Attributes
    ----------
    case : Case
    pipeline : Pipeline
    given : mapping
        Further arguments of the pipeline: mask, modality, spacing and interpolate.
    place : int
        The place of the pipeline among those of the command.
    """

    case: Case
    pipeline: Pipeline
    given: Mapping[str, Any] = field(default_factory=dict)
    place: int = 0

    @property
    def written(self) -> tuple[Path, ...]:
        """Every file that is written: the outputs, and the files beside them."""
        outputs = self.case.outputs
        if self.case.sidecars:
            outputs = (*outputs, *map(_sidecar_of, outputs))
        if self.pipeline.segmenter is None or self.case.dicom:
            return outputs
        labels = self.case.outputs[0 if self.pipeline.translator is None else 1]
        return (*outputs, labels.with_name(f"{files.stem(labels)}.tsv"))


def _sidecar_of(image: Path) -> Path:
    return image.with_name(f"{files.stem(image)}.json")


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


@dataclass(frozen=True)
class Outcome:
    """What became of one task: its record, and its error in one line if it failed."""

    record: dict[str, Any]
    error: str | None = None
    skipped: bool = False


class Executor(Protocol):
    """Does tasks in this process or in others."""

    def outcomes(self, tasks: Sequence[Task], do: How) -> Iterator[tuple[int, Outcome]]:
        """The number of each task and its outcome, in the order in which they end."""


class Local:
    """Does one task after another in this process."""

    def outcomes(self, tasks: Sequence[Task], do: How) -> Iterator[tuple[int, Outcome]]:
        """See `Executor`."""
        for number, task in enumerate(tasks):
            yield number, do(task)


@dataclass(frozen=True)
class How:
    """How tasks are done.

    Attributes
    ----------
    overwrite : bool
        Whether existing outputs are replaced.
    resume : bool
        Whether finished cases are skipped, and outputs of Chiasm that are incomplete or of other
        settings are replaced.
    records : Records or None
        Where finished cases are recorded; None if the output is one file.
    derivatives : Derivatives or None
        The derivative dataset of BIDS that the outputs belong to, if they do.
    """

    overwrite: bool = False
    resume: bool = False
    records: Records | None = None
    derivatives: Derivatives | None = None

    def __call__(self, task: Task) -> Outcome:
        """Do one task. Every error becomes part of the outcome."""
        source = task.case.source
        record: dict[str, Any] = {"input": source}
        if (series := task.case.scan.series) is not None:
            record["series"] = {"uid": series.uid, "slices": series.shape[2]}
        try:
            facts = {} if self.records is None else facts_of(task)
            if self.resume and self.records is not None:
                if self.records.is_finished(task, facts):
                    outputs = [str(path) for path in task.case.outputs]
                    return Outcome(record | {"outputs": outputs, "skipped": True}, skipped=True)
                for path in task.written:
                    files.remove_drafts(path)
            record |= _done(task, self._may_replace(task), self.derivatives)
            if self.records is not None:
                self.records.write(task, facts)
        except Exception as error:
            known = failure(error)
            if not isinstance(error, ChiasmError):
                record["traceback"] = traceback.format_exc()
                _log.debug("%s", record["traceback"])
            message = str(known)
            if not any(str(path) in message for path in (source, *task.case.outputs)):
                message = f"-i {source}: {message}"
            return Outcome(record | {"error": message}, message)
        return Outcome(record)

    def _may_replace(self, task: Task) -> bool:
        if self.overwrite or not self.resume or self.records is None:
            return self.overwrite
        return self.records.may_be_replaced(task)


def run_tasks(
    tasks: Sequence[Task],
    errors: Sequence[CaseError],
    *,
    settings: Mapping[str, Any],
    left_out: Sequence[str] = (),
    how: How | None = None,
    executor: Executor | None = None,
    reports: Sequence[Path] = (),
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
    how : How, optional
    executor : Executor, optional
        By default one task is done after another in this process.
    reports : sequence of Path
        The files for the report, see `chiasm.cohort.report`.

    Returns
    -------
    int
        The exit code: 1 if any scan failed, otherwise 0.

    Raises
    ------
    CaseError
        The report cannot be written. This is checked before any scan is processed.
    """
    how = how or How()
    replaced = how.overwrite or how.resume
    for path in reports:
        files.check_output(path, replaced, argument="--report")
    failed = [str(error) for error in errors]
    for message in (*left_out, *failed):
        warn(f"chiasm: {message}")
    outcomes: dict[int, Outcome] = {}
    told: set[str] = set()
    start, finished = time.monotonic(), False
    try:
        with stoppable():
            for number, outcome in (executor or Local()).outcomes(tasks, how):
                outcomes[number] = outcome
                _tell(tasks[number], outcome, outcomes, len(tasks), time.monotonic() - start, told)
        finished = True
    except (KeyboardInterrupt, Stopped):
        done = sum(one.error is None for one in outcomes.values())
        words = f"{done} of {len(tasks)} scans are finished"
        if how.records is not None:
            words += ". The same command with --resume goes on"
        warn(f"chiasm: The run was stopped: {words}.")
        raise
    finally:
        ended = [outcomes[number] for number in sorted(outcomes)]
        failed += [one.error for one in ended if one.error is not None]
        content = {
            "chiasm": version("chiasm"),
            "versions": _versions(),
            "command": sys.argv[1:],
            "settings": dict(settings),
            "finished": finished,
            "seconds": round(time.monotonic() - start, 1),
            "left_out": list(left_out),
            "cases": [one.record for one in ended],
            "failed": failed,
        }
        for path in reports:
            write_report(content, path, overwrite=replaced)
    skipped = sum(one.skipped for one in outcomes.values())
    if skipped:
        say(f"{skipped} of {len(tasks)} scans were finished before and were skipped.")
    return 1 if failed else 0


def _tell(
    task: Task,
    outcome: Outcome,
    outcomes: Mapping[int, Outcome],
    count: int,
    seconds: float,
    told: set[str],
) -> None:
    """Print the line of a task that ended, and its warnings; each warning once."""
    if outcome.skipped:
        return
    if outcome.error is not None:
        warn(f"chiasm: {outcome.error}")
        return
    for warning in outcome.record.get("warnings", ()):
        line = f"chiasm: warning: {task.case.source}: {warning}"
        if line not in told:
            told.add(line)
            warn(line)
    outputs = ", ".join(outcome.record["outputs"])
    done = sum(not one.skipped for one in outcomes.values())
    left = seconds / done * (count - len(outcomes))
    later = "" if seconds < _TELL_TIME_AFTER or not left else f" ({_duration(left)} left)"
    say(f"[{len(outcomes)}/{count}] {task.case.source} -> {outputs}{later}")


def _duration(seconds: float) -> str:
    """A time in words, such as "2 h 5 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _done(task: Task, overwrite: bool, derivatives: Derivatives | None) -> dict[str, Any]:
    """Process one task, and return its record."""
    case, pipeline, scan = task.case, task.pipeline, task.case.scan
    for path in task.written:
        if case.dicom and path.suffix != ".dcm":
            files.check_folder(path, overwrite, ending=".dcm")
        else:
            files.check_output(path, overwrite)
    result = pipeline(scan.image, warnings=scan.warnings, **task.given)
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
    outputs = [str(path) for path in case.outputs]
    record = {"outputs": outputs, **pipeline.settings(), **result.record}
    if case.sidecars and derivatives is not None:
        stripped = not looks_unstripped(result.source, result.foreground)
        for name, path in zip(_words(task, result), case.outputs, strict=True):
            words = f"{name[:1].upper()}{name[1:]}."
            text = derivatives.sidecar(scan.path, words, record, stripped=stripped)
            files.write_text(_sidecar_of(path), text, overwrite=overwrite)
    return record


def _words(task: Task, result: Result) -> list[str]:
    """A short name for each image of a result, such as "synthetic T1w"."""
    translator = task.pipeline.translator
    image, labels = "image", "segmentation"
    if translator is not None:
        image = f"synthetic {translator.model.config.target}"
        labels = f"segmentation of the {image}"
    kinds = (
        (result.translation, image),
        (result.labels, labels),
        (result.deviation, f"standard deviation of the {image}"),
        (result.expected_error, f"expected error of the {image}"),
    )
    return [name for made, name in kinds if made is not None]


def _making(task: Task, result: Result, mark: str, place: int) -> Making:
    """How an output of a DICOM series was made, in words for its headers and for its UIDs."""
    pipeline, series = task.pipeline, task.case.scan.series
    assert series is not None
    known, settings = result.record.get("modality") or "a scan", pipeline.settings()
    steps = []
    if pipeline.translator is not None:
        model, method = pipeline.translator.model, settings["method"]
        steps.append(f"translated from {known} to {model.config.target} by {model.name} ({method})")
    if pipeline.segmenter is not None:
        steps.append(f"segmented by {pipeline.segmenter.name}")
    sentence = f"The scan was {' and '.join(steps)}. It is for research and not for diagnosis."
    facts = {**settings, "modality": known, "interpolate": task.given.get("interpolate", False)}
    words = _words(task, result)[place - 1]
    return Making(series, mark, words, sentence, facts, place, task.case.anonymous)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}
