"""What ``chiasm compare`` does: every method on every case, judged, summed up and shown."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import chiasm
from chiasm import api
from chiasm.errors import CaseError, ChiasmError, UsageError, explain
from chiasm.evaluation.cases import Case, Reader, Session, find_sessions
from chiasm.evaluation.cost import memory_is
from chiasm.evaluation.journal import SETTINGS, Journal
from chiasm.evaluation.judge import Judged, judge, judge_real, real_name
from chiasm.evaluation.methods import FLOOR, Method, fingerprint, load_methods
from chiasm.evaluation.summary import summarise
from chiasm.files import check_output
from chiasm.head import looks_unstripped
from chiasm.modality import modality_name
from chiasm.progress import Advance, progress
from chiasm.registry import DEFAULT_SEGMENTER
from chiasm.report import comparison as report
from chiasm.segmenters import Segmenter
from chiasm.translators import Translator

_SHOWN = 3  # sessions that get pictures
_log = logging.getLogger("chiasm")


def compare(
    input: str | Path,
    output: str | Path,
    *,
    methods: Sequence[str] = (),
    target: str | None = None,
    sources: Sequence[str] | None = None,
    segmenter: str | Path = DEFAULT_SEGMENTER,
    slices: int | None = None,
    seed: int = 0,
    batch: int = 8,
    device: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare methods on subjects who have the target modality and others.

    Goes on where an earlier comparison in the same folder broke off; methods, subjects and sources
    may be added to one that is finished.

    Parameters
    ----------
    input : path
        A folder of subjects, each with an image of the target modality and of one or more sources
        (on any grids that share scanner space), and optionally a label map (``_dseg``) and a brain
        mask (``_mask``). See `chiasm.evaluation.cases.find_sessions`.
    output : path
        A folder; gets ``table.csv``, ``rows.csv``, ``compare.json``, ``pictures.png`` and
        ``report.html``.
    methods : sequence of str
        See `chiasm.evaluation.methods.load_methods`; by default all that are shipped.
    target : str, optional
        The segmenter's, which is the default.
    sources : sequence of str, optional
        Modalities to translate from; by default every one that is there.
    segmenter : str or Path
        A shipped name or a folder: what translations are judged by.
    slices : int, optional
        Keep only so many evenly spaced axial slices of the head.
    seed, batch, device
        As in `chiasm.translators.RunOptions`.
    overwrite : bool
        Start anew.

    Returns
    -------
    dict
        What compare.json holds: ``settings``, ``versions``, ``methods``, ``summary``
        (`chiasm.evaluation.summary.summarise`), ``rows`` (`chiasm.evaluation.judge.judge`),
        ``left_out`` and ``failed``.

    Raises
    ------
    UsageError
        An unknown name or an illegal value.
    CaseError
        No case is there, none could be judged, or the folder holds another comparison.
    """
    folder, output = Path(input), Path(output)
    if slices is not None and slices < 1:
        raise UsageError(explain("--slices", slices, "is too few", "at least 1"))
    judge_of = api.load_segmenter(segmenter, batch=batch, device=device)
    goal = judge_of.model.config.target
    if target is not None and modality_name(target, "--target") != goal:
        legal = f"{goal}, or a --segmenter that knows it"
        problem = f"is not what --segmenter {judge_of.model.name} knows"
        raise UsageError(explain("--target", target, problem, legal))
    chosen = load_methods(methods, judge_of, seed=seed, batch=batch, device=device)
    if slices is not None:
        _check_context([judge_of, *(method.model for method in chosen)])
    wanted = None if sources is None else [modality_name(one, "--sources") for one in sources]
    sessions, left_out = find_sessions(folder, goal, wanted)
    for message in left_out:
        _log.warning("left out %s", message)
    for model in (judge_of, *(method.model for method in chosen)):
        _read_weights(model)

    settings = {
        "input": str(input),
        "target": goal,
        "segmenter": fingerprint(judge_of.model),
        "slices": slices,
        "reference": "label maps" if sessions[0].truth else f"segmentation of the real {goal}",
    }
    if not (output / SETTINGS).exists():
        for name in report.OUTPUTS:
            check_output(output / name, overwrite)
    identities = {method.name: method.identity() for method in chosen}
    journal = Journal(output, settings, identities, overwrite=overwrite)
    shown = {session.name for session in sessions[:_SHOWN]}
    rows, failed = _all_rows(sessions, chosen, judge_of, slices, journal, output, shown)
    if not rows:
        raise CaseError(failed[0])
    result = {
        "chiasm": chiasm.__version__,
        "settings": settings
        | {
            "sources": list(dict.fromkeys(name for one in sessions for name in one.sources)),
            "seed": seed,
            "batch": batch,
            "device": device,
            "image scores": "in the head, both images on [0, 1] by their own 0.5 and 99.5 "
            "percentiles there; SSIM in axial slices",
            "head": "of the brain mask beside the images, else found on the source; one for all "
            "methods",
            "seconds": "of translating a volume (of segmenting it, where nothing is translated)",
            "memory": memory_is(device),
        },
        "versions": _versions(),
        "methods": identities,
        "summary": summarise(rows, ceiling=real_name(goal), floor=FLOOR),
        "rows": rows,
        "left_out": left_out,
        "failed": failed,
    }
    report.write_all(output, result, [one.name for one in sessions[:_SHOWN]])
    return result


def _check_context(models: Sequence[Translator | Segmenter]) -> None:
    """Slices that are taken out have no neighbours: models that look at them cannot be run."""
    for one in models:
        kind = one.model.config.context.kind
        if kind != "2d":
            problem = f"takes the neighbours away that model {one.model.name} ({kind}) looks at"
            raise UsageError(explain("--slices", "", problem, "all slices, or 2d models"))


def _read_weights(model: Translator | Segmenter) -> None:
    """Read them now: a model that cannot be used is told before any scan is read."""
    if not isinstance(model, Translator) or model.runs:
        model.model.module  # noqa: B018


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "monai", "diffusers", "numpy", "scipy", "scikit-image")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _all_rows(
    sessions: Sequence[Session],
    methods: Sequence[Method],
    segmenter: Segmenter,
    slices: int | None,
    journal: Journal,
    output: Path,
    shown: set[str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of every case and method, those of before among them; and what failed, in words."""
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    goal = segmenter.model.config.target
    names = [*(method.name for method in methods), real_name(goal)]
    keys = {
        (session.name, source): [
            (session.subject, session.session, f"{source}→{goal}", name) for name in names
        ]
        for session in sessions
        for source in session.sources
    }
    before = sum(journal.get(*key) is not None for each in keys.values() for key in each)
    total = sum(len(each) for each in keys.values())

    def failing(where: Path, error: ChiasmError) -> None:
        message = str(error)
        failed.append(message if str(where) in message else f"-i {where}: {message}")
        _log.warning("%s", failed[-1])

    with progress("compare", total, before) as advance:
        for session in sessions:
            missing = {
                source: [key[-1] for key in keys[session.name, source] if not journal.get(*key)]
                for source in session.sources
            }
            if any(missing.values()):
                todo = {source: which for source, which in missing.items() if which}
                _do_session(
                    session, todo, methods, segmenter, slices, journal, advance, failing,
                    output / report.PICTURES if session.name in shown else None,
                )  # fmt: skip
            done = [journal.get(*key) for one in session.sources for key in keys[session.name, one]]
            rows += [row for row in done if row is not None]
    return rows, failed


def _do_session(
    session: Session,
    todo: dict[str, list[str]],
    methods: Sequence[Method],
    segmenter: Segmenter,
    slices: int | None,
    journal: Journal,
    advance: Advance,
    failing: Callable[[Path, ChiasmError], None],
    pictures: Path | None,
) -> None:
    """Make the rows of one session that are not there yet."""
    brain_only = any(method.model.model.config.brain_only for method in methods)
    try:
        reader = Reader(session, lambda image, mask: segmenter.segment(image, mask).labels, slices)
    except CaseError as error:
        failing(session.target, error)
        advance(sum(map(len, todo.values())))
        return
    for source, names in todo.items():
        path = session.sources[source]
        try:
            case = reader.read(source)
        except CaseError as error:
            failing(path, error)
            advance(len(names))
            continue
        if brain_only and looks_unstripped(case.source, case.mask):
            _log.warning(
                "%s looks like a whole head, and the models know brains alone: strip it, or put a "
                "brain mask (_mask) beside it",
                path,
            )
        if pictures is not None:
            report.draw_source(pictures, session.name, case)
        for name in names:
            try:
                judged = _judged(case, name, methods, segmenter)
            except CaseError as error:
                failing(path, error)
            else:
                if pictures is not None:
                    report.draw(pictures, session.name, case, judged)
                journal.add(judged.row)
            advance(1)


def _judged(case: Case, name: str, methods: Sequence[Method], segmenter: Segmenter) -> Judged:
    method = next((one for one in methods if one.name == name), None)
    return judge_real(case) if method is None else judge(case, method, segmenter)
