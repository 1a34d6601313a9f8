"""Code that the commands for scans share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chiasm import files
from chiasm.cohort.plan import check_kind_of_output, plan
from chiasm.cohort.run import Task, run_tasks
from chiasm.errors import CaseError, UsageError, explain
from chiasm.files.find import Search, find_scans, spare_inputs
from chiasm.image.modality import modality_name
from chiasm.machine.device import Resources
from chiasm.pipeline import EXTRACT, Pipeline, check_extract
from chiasm.segmenters import Segmenter


def set_threads(threads: int | None) -> None:
    """Limit the CPU threads of the networks and of the LMI kernel to a number of at least 1."""
    if threads is None:
        return
    if threads < 1:
        raise UsageError(explain("--threads", threads, "is not legal", "at least 1"))
    import torch

    torch.set_num_threads(threads)  # the LMI kernel uses the same number


def load_extractor(
    extract: str | None, mask: Path | None, resources: Resources
) -> Segmenter | None:
    """What finds the brain, or None. A mask beside it raises `UsageError`."""
    if extract is None:
        return None
    check_extract(extract, mask)
    from chiasm.segmenters.load import load_segmenter

    return load_segmenter(extract, resources, EXTRACT)


def process(
    pipelines: Sequence[Pipeline],
    inputs: Sequence[Path],
    output: Path,
    suffixes: Sequence[Sequence[str]],
    *,
    modality: str | None,
    mask: Path | None,
    spacing: float | None,
    interpolate: bool,
    form: str | None,
    overwrite: bool,
    report: Path | None,
    settings: dict[str, Any],
    folder: bool = False,
) -> int:
    """Find scans, process each with every pipeline, and write the results and the report.

    The command line and the models are checked before any file of the inputs is opened.

    Parameters
    ----------
    pipelines : sequence of Pipeline
        One for each target.
    suffixes : sequence of sequence of str
        The BIDS suffixes of each pipeline's outputs.
    folder : bool
        As in `chiasm.cohort.plan.plan`.

    Returns
    -------
    int
        The exit code.
    """
    known = None if modality is None else modality_name(modality, "--modality")
    files.check_spacing(spacing)
    check_kind_of_output(output, inputs, folder=folder)
    for pipeline in pipelines:
        pipeline.load()
    tasks: list[Task] = []
    searches: list[Search] = []
    left_out: dict[str, None] = {}
    for pipeline, names in zip(pipelines, suffixes, strict=True):
        try:
            search, others = _search(inputs, pipeline, known)
        except CaseError as error:  # also listed in the report
            search, others = Search((), errors=(error,), inputs=tuple(inputs)), []
        searches.append(search)
        left_out |= dict.fromkeys([*search.sentences(), *others])
        for case in plan(search, output, names, folder=folder, maps=pipeline.maps, form=form):
            given = {
                "modality": known,
                "mask": mask,
                "spacing": spacing,
                "interpolate": interpolate,
            }
            tasks.append(Task(case, pipeline, given))
    if mask is not None:
        spare_inputs((path for task in tasks for path in task.written), [mask])
    if report is not None:
        for search in searches:
            spare_inputs([report], search, "--report")
        spare_inputs([report], [mask] if mask else [], "--report")
        _spare_outputs(report, tasks)
    errors = dict.fromkeys(str(error) for search in searches for error in search.errors)
    asked = settings | {
        "input": [str(one) for one in inputs],
        "output": str(output),
        "modality": known,
        "mask": None if mask is None else str(mask),
        "spacing": spacing,
        "interpolate": interpolate,
        "format": form,
        "pipelines": [one.settings() for one in pipelines],
    }
    return run_tasks(
        tasks,
        [CaseError(message) for message in errors],
        settings=asked,
        left_out=list(left_out),
        overwrite=overwrite,
        report=report,
    )


def _search(
    inputs: Sequence[Path], pipeline: Pipeline, known: str | None
) -> tuple[Search, list[str]]:
    """Find the scans for a pipeline. Also return whole sentences on scans that were left out.

    From folders, a translator takes all scans except those of its target modality, and a segmenter
    takes only scans of its own modality. A file that is named is always taken. All scans are taken
    if the user gives their modality.
    """
    if known is not None:
        return find_scans(inputs, dicom=True), []
    if pipeline.translator is not None:
        return find_scans(inputs, leave_out=pipeline.target, dicom=True), []
    search, wanted = find_scans(inputs, dicom=True), pipeline.target
    kept = tuple(
        one for one in search.scans if one.explicit or one.modality in (None, wanted) or not wanted
    )
    count = len(search.scans) - len(kept)
    if not count:
        return search, []
    if not kept and not search.errors:
        problem = f"holds no {wanted} scan, which the segmenter needs"
        legal = "a folder with such scans, or `chiasm run`, which translates before it segments"
        raise CaseError(explain("-i", inputs[0], problem, legal))
    were = "scan of another modality was" if count == 1 else "scans of other modalities were"
    sentence = f"{count} {were} left out, because the segmenter knows only {wanted}."
    return replace(search, scans=kept), [sentence]


def _spare_outputs(report: Path, tasks: Sequence[Task]) -> None:
    outputs = {path.resolve() for task in tasks for path in task.written}
    folders = {parent for path in outputs for parent in path.parents}
    if report.resolve() in outputs:
        legal = "another file"
        raise UsageError(explain("--report", report, "is one of the output files", legal))
    if report.resolve() in folders:
        problem = "is a folder of the outputs"
        raise UsageError(explain("--report", report, problem, "the name of a file"))
