"""Code that the commands for scans share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chiasm import files
from chiasm.cohort.derivatives import derivatives_of
from chiasm.cohort.executors import LOCAL, executor_of
from chiasm.cohort.plan import check_kind_of_output, is_file_name, plan
from chiasm.cohort.recipe import Recipe
from chiasm.cohort.record import Records
from chiasm.cohort.run import How, Task, run_tasks
from chiasm.cohort.shard import shard_of
from chiasm.errors import CaseError, UsageError, explain
from chiasm.files.find import Search, find_scans, spare_inputs
from chiasm.image.modality import modality_name
from chiasm.machine.terminal import say
from chiasm.pipeline import Pipeline


@dataclass(frozen=True)
class Cohort:
    """The options of a command that say which scans are done, where, and by how many processes."""

    overwrite: bool = False
    resume: bool = False
    shard: str | None = None
    executor: str = LOCAL
    workers: int | None = None
    reports: Sequence[Path] = ()
    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()


def process(
    recipe: Recipe,
    inputs: Sequence[Path],
    output: Path,
    cohort: Cohort,
    *,
    modality: str | None,
    mask: Path | None,
    spacing: float | None,
    interpolate: bool,
    form: str | None,
    anonymous: bool,
) -> int:
    """Find scans, process each with every pipeline, and write the results and the report.

    The command line and the models are checked before any file of the inputs is opened.

    Returns
    -------
    int
        The exit code.
    """
    recipe.check(mask)
    shard = shard_of(cohort.shard)
    known = None if modality is None else modality_name(modality, "--modality")
    files.check_spacing(spacing)
    pipelines = recipe.pipelines()
    folder = len(pipelines) > 1 or len(recipe.suffixes(pipelines[0])) > 1
    check_kind_of_output(output, inputs, folder=folder)
    if cohort.resume and is_file_name(output):
        problem = "names one file"
        raise UsageError(explain("-o", output, problem, "a folder, or no --resume"))
    derivatives = derivatives_of(output, inputs)
    executor = executor_of(cohort.executor, cohort.workers, recipe)
    for pipeline in pipelines:
        pipeline.load()
    tasks: list[Task] = []
    searches: list[Search] = []
    left_out: dict[str, None] = {}
    given = {"modality": known, "mask": mask, "spacing": spacing, "interpolate": interpolate}
    for place, pipeline in enumerate(pipelines):
        try:
            search, others = _search(inputs, pipeline, known)
        except CaseError as error:  # also listed in the report
            search, others = Search((), errors=(error,), inputs=tuple(inputs)), []
        search = _chosen(search, cohort)
        searches.append(search)
        left_out |= dict.fromkeys([*search.sentences(), *others])
        names = recipe.suffixes(pipeline)
        cases = plan(
            search,
            output,
            names,
            folder=folder,
            maps=pipeline.maps,
            form=form,
            anonymous=anonymous,
            derivatives=derivatives is not None,
        )
        tasks += [Task(case, pipeline, given, place) for case in cases]
    if mask is not None:
        spare_inputs((path for task in tasks for path in task.written), [mask])
    reports = [shard.named(one) for one in cohort.reports]
    if len({*reports}) < len(reports):
        raise UsageError(explain("--report", reports[0], "is named twice", "different files"))
    for report in reports:
        for search in searches:
            spare_inputs([report], search, "--report")
        spare_inputs([report], [mask] if mask else [], "--report")
        _spare_outputs(report, tasks)
    errors = dict.fromkeys(str(error) for search in searches for error in search.errors)
    if shard.count > 1:
        own = shard.of(tasks)
        say(f"This is share {shard} of the scans: {len(own)} of {len(tasks)}.")
        tasks = own
    asked = recipe.settings() | {
        "input": [str(one) for one in inputs],
        "output": str(output),
        "modality": known,
        "mask": None if mask is None else str(mask),
        "spacing": spacing,
        "interpolate": interpolate,
        "format": form,
        "anonymize": anonymous,
        "shard": str(shard),
        "executor": cohort.executor,
        "pipelines": [one.settings() for one in pipelines],
    }
    records = None if is_file_name(output) else Records(output)
    if derivatives is not None and tasks:
        derivatives.begin()
    return run_tasks(
        tasks,
        [CaseError(message) for message in errors],
        settings=asked,
        left_out=list(left_out),
        how=How(cohort.overwrite, cohort.resume, records, derivatives),
        executor=executor,
        reports=reports,
    )


def _chosen(search: Search, cohort: Cohort) -> Search:
    """The scans of the participants and sessions that were asked for.

    Raises
    ------
    UsageError
        One of them has no scan.
    """
    scans = list(search.scans)
    for option, prefix, wanted in (
        ("--participant-label", "sub-", cohort.participants),
        ("--session", "ses-", cohort.sessions),
    ):
        names = [f"{prefix}{one.removeprefix(prefix)}" for one in wanted]
        if not names:
            continue
        tell = (lambda one: one.subject) if prefix == "sub-" else (lambda one: one.session)
        there = sorted({tell(one) for one in search.scans})
        if unknown := [one for one in names if one not in there]:
            shown = ", ".join(there[:10]) + ", …" * (len(there) > 10)
            raise UsageError(explain(option, unknown[0], "has no scan", shown or "none is there"))
        scans = [one for one in scans if tell(one) in names]
    return replace(search, scans=tuple(scans))


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
