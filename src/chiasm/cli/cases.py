"""Many inputs, one after the other: what each is called, and what happens if one fails."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chiasm
from chiasm import files
from chiasm.errors import CaseError, UsageError, explain
from chiasm.modality import modality_from_filename, modality_name, split_modality
from chiasm.models import Model
from chiasm.volume import Volume

if TYPE_CHECKING:
    from chiasm.translators import Translator


@dataclass(frozen=True)
class Case:
    """One input and its outputs, in the order of the suffixes asked for."""

    source: Path
    outputs: tuple[Path, ...]


def plan(
    inputs: Sequence[Path],
    output: Path,
    suffixes: Sequence[str],
    *,
    leave_out: str | None = None,
    folder: bool = False,
    deviation: bool = False,
) -> tuple[list[Case], list[CaseError]]:
    """What is to be done, before any image is read.

    Parameters
    ----------
    inputs : sequence of Path
        Files and folders; of a folder, every image below it. One that is named twice counts once.
    output : Path
        A file if there is one input file (and not ``folder``), else a folder that repeats the
        input folder's structure.
    suffixes : sequence of str
        BIDS suffixes of the outputs; ``sub-01_PDw.nii.gz`` → ``sub-01_T1w.nii.gz``. Inputs that
        would meet in one name get ``_desc-fromPDw`` too.
    leave_out : str, optional
        Of folders, a modality that is passed over.
    deviation : bool
        Whether the first output's standard deviation is one more, the last:
        ``sub-01_desc-std_T1w.nii.gz``.

    Returns
    -------
    cases, errors
        The cases; and the inputs that are not there.

    Raises
    ------
    UsageError
        The output is a file's name for several inputs, two inputs would be written to one file, or
        an input would be replaced.
    """
    if folder and _is_file_name(output):
        problem = "names one file"
        raise UsageError(explain("-o", output, problem, "a folder for several outputs of a scan"))
    to_file = not folder and _is_file_name(output)
    if to_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UsageError(explain("-o", output, "names one file", "a folder for several inputs"))
    errors: list[CaseError] = []
    found: dict[Path, Path] = {}  # file -> its folder below the output
    given: set[Path] = set()
    for path in inputs:
        try:
            images = files.find_images(path)
        except CaseError as error:
            errors.append(error)
            continue
        given |= {image.resolve() for image in images}
        for image in images:
            below = image.parent.relative_to(path) if path.is_dir() else Path()
            if path.is_dir() and leave_out and modality_from_filename(image.name) == leave_out:
                print(f"chiasm: left out, already {leave_out}: {image}", file=sys.stderr)
                continue
            found.setdefault(image, below)
    if to_file:
        single = (output, _beside(output)) if deviation else (output,)
        _spare_inputs(single, given)
        return [Case(image, single) for image in found], errors
    names = Counter((below, _subject(image), _ending(image)) for image, below in found.items())
    cases: dict[tuple[Path, ...], Case] = {}
    for image, below in found.items():
        stem, ending = _subject(image), _ending(image)
        if names[(below, stem, ending)] > 1:
            stem += f"_desc-from{modality_from_filename(image.name) or files.stem(image)}"
        outputs = tuple(output / below / f"{stem}_{suffix}{ending}" for suffix in suffixes)
        if deviation:
            outputs += (_beside(outputs[0]),)
        _spare_inputs(outputs, given)
        if (other := cases.setdefault(outputs, Case(image, outputs))).source != image:
            problem = f"would hold the results of both {other.source} and {image}"
            raise UsageError(explain("-o", outputs[0], problem, "inputs of different names"))
    return list(cases.values()), errors


def _spare_inputs(outputs: Sequence[Path], given: set[Path]) -> None:
    """A scan that was given is never replaced, not even on request."""
    for path in outputs:
        if path.resolve() in given:
            problem = "is one of the input files"
            raise UsageError(explain("-o", path, problem, "another file or folder"))


def _is_file_name(path: Path) -> bool:
    return not path.is_dir() and path.name.lower().endswith(files.SUFFIXES)


def _subject(image: Path) -> str:
    stem = files.stem(image)
    known = modality_from_filename(image.name)
    if known is None:
        return stem
    return split_modality(stem)[0] or stem


def _beside(image: Path) -> Path:
    """What an image's standard deviation is called; a name has one ``desc`` at most."""
    subject = _subject(image)
    suffix = files.stem(image)[len(subject) :]
    entities = subject + ("Std" if re.search(r"_desc-[^_]+$", subject) else "_desc-std")
    return image.with_name(f"{entities}{suffix}{_ending(image)}")


def _ending(image: Path) -> str:
    return image.name[len(files.stem(image)) :]


def run_cases(
    cases: Sequence[Case],
    errors: Sequence[CaseError],
    work: Callable[[Case], dict[str, Any]],
    *,
    overwrite: bool,
    report: Path | None,
    settings: dict[str, Any],
) -> int:
    """Do every case; one that fails is told on stderr and the others are still done.

    Returns
    -------
    int
        The exit code: 1 if any case failed.
    """
    if report is not None:
        files.check_output(report, overwrite, argument="--report")
    records: list[dict[str, Any]] = []
    failed = [str(error) for error in errors]
    for message in failed:
        print(f"chiasm: {message}", file=sys.stderr)
    for number, case in enumerate(cases, start=1):
        try:
            for path in case.outputs:
                files.check_output(path, overwrite)
            record = work(case)
        except CaseError as error:
            message = str(error)
            if not any(str(path) in message for path in (case.source, *case.outputs)):
                message = f"-i {case.source}: {message}"
            failed.append(message)
            records.append({"input": str(case.source), "error": message})
            print(f"chiasm: {message}", file=sys.stderr)
            continue
        outputs = [str(path) for path in case.outputs]
        records.append({"input": str(case.source), "outputs": outputs, **record})
        print(f"[{number}/{len(cases)}] {case.source} -> {', '.join(outputs)}")
    if report is not None:
        content = {"chiasm": chiasm.__version__, "settings": settings, "cases": records}
        content["failed"] = failed
        text = json.dumps(content, indent=2) + "\n"
        files.write_text(report, text, overwrite=overwrite, argument="--report")
    return 1 if failed else 0


def warn_unstripped(volume: Volume, mask: Any, brain_only: bool, path: Path) -> None:
    """Say so if a model that knows brains alone is given what looks like a whole head."""
    from chiasm.head import looks_unstripped

    if brain_only and looks_unstripped(volume, mask):
        print(
            f"chiasm: warning: {path} looks like a whole head; this model knows skull-stripped "
            "brains alone: strip it first, or give the brain as --mask",
            file=sys.stderr,
        )


def judge_source(translator: Translator, volume: Volume, mask: Any, path: Path) -> dict[str, Any]:
    """How translatable a scan is, for the record; said as a warning if it is hardly so.

    Empty where the model's config does not say which score is a good one.
    """
    from chiasm.evaluation import translatability
    from chiasm.translators import NetworkTranslator

    known = translator.model.config.translatable_from is not None
    if not known or not isinstance(translator, NetworkTranslator):
        return {}
    found = translatability(volume, translator, mask)
    if found.warning:
        print(f"chiasm: warning: {path}: {found.warning}", file=sys.stderr)
    return {"translatability": found.model_dump(mode="json")}


def read_weights(model: Model) -> None:
    """Read them now: a model that cannot be used is told once, and before any scan is read."""
    model.module  # noqa: B018


def set_threads(threads: int | None) -> None:
    """Limit the CPU threads of the networks and of the LMI kernel; fewer than 1 is refused."""
    if threads is None:
        return
    if threads < 1:
        raise UsageError(explain("--threads", threads, "is not legal", "at least 1"))
    import torch

    torch.set_num_threads(threads)  # the LMI kernel takes as many


def check_modality(name: str | None) -> str | None:
    """The BIDS suffix of an optional ``--modality``."""
    return None if name is None else modality_name(name, "--modality")
