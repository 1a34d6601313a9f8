"""What ``chiasm compare`` does: every method on every case, judged, summed up and shown."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import chiasm
from chiasm import api
from chiasm.cost import memory_is
from chiasm.errors import CaseError, UsageError, explain
from chiasm.evaluation.cases import Case, Reader, Session, find_sessions
from chiasm.evaluation.journal import SETTINGS, Journal
from chiasm.evaluation.judge import Judged, Row, judge, judge_real, real_name
from chiasm.evaluation.methods import (
    FLOOR,
    Method,
    fingerprint,
    load_methods,
    looks_at_neighbours,
)
from chiasm.evaluation.summary import summarise
from chiasm.files import check_output
from chiasm.head import looks_unstripped
from chiasm.modality import modality_name
from chiasm.progress import Advance, progress
from chiasm.registry import DEFAULT_SEGMENTER
from chiasm.report import comparison as report
from chiasm.segmenters import Segmenter
from chiasm.translators import Translator
from chiasm.volume import LabelVolume, Volume

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
        See `chiasm.evaluation.methods.load_methods`; by default all that are shipped, less those
        that look at a slice's neighbours where ``slices`` takes them away. A model that
        learned some sources alone has rows of these.
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
    named = goal if target is None else modality_name(target, "--target")
    if named != goal:
        legal = f"{goal}, or a --segmenter of {named}"
        problem = f"is not what --segmenter {judge_of.model.name} knows"
        raise UsageError(explain("--target", named, problem, legal))
    apart = slices is not None
    chosen = load_methods(methods, judge_of, seed=seed, batch=batch, device=device, apart=apart)
    if slices is not None:
        _check_context([judge_of, *(part for method in chosen for part in method.parts)])
    wanted = None if sources is None else [modality_name(one, "--sources") for one in sources]
    sessions, left_out = find_sessions(folder, goal, wanted)
    for message in left_out:
        _log.warning("chiasm: left out %s", message)
    _check_known(chosen, {source for session in sessions for source in session.sources})
    for model in (judge_of, *(part for method in chosen for part in method.parts)):
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
    made_by = {"chiasm": chiasm.__version__}
    journal = Journal(output, settings | made_by, identities, overwrite=overwrite)
    run = _Run(chosen, judge_of, slices, journal, output / report.PICTURES)
    rows = run.rows(sessions)
    if not rows:
        raise CaseError(f"no case could be judged; the first: {run.failed[0]}")
    result = {
        **made_by,
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
        "failed": run.failed,
    }
    report.write_all(output, result, [one.name for one in sessions[:_SHOWN]])
    return result


def _check_context(models: Sequence[Translator | Segmenter]) -> None:
    """Slices that are taken out have no neighbours: models that look at them cannot be run."""
    for one in models:
        if looks_at_neighbours(one):
            kind = one.model.config.context.kind
            problem = f"takes the neighbours away that model {one.model.name} ({kind}) looks at"
            raise UsageError(explain("--slices", "", problem, "all slices, or 2d models"))


def _check_known(methods: Sequence[Method], sources: Iterable[str]) -> None:
    """A method that knows none of the sources would have no row, which nobody asks for."""
    for one in methods:
        if not any(map(one.knows, sources)):
            problem = f"knows none of {', '.join(sorted(sources))}"
            known = ", ".join(one.model.model.config.sources)
            raise UsageError(explain("--methods", one.name, problem, f"sources {known}"))


def _read_weights(model: Translator | Segmenter) -> None:
    """Read them now: a model that cannot be used is told before any scan is read."""
    if not isinstance(model, Translator) or model.runs:
        model.model.module  # noqa: B018


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "monai", "diffusers", "numpy", "scipy", "scikit-image")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


@dataclass
class _Run:
    """One pass over the sessions, that makes the rows which are not there yet."""

    methods: Sequence[Method]
    segmenter: Segmenter
    slices: int | None
    journal: Journal
    pictures: Path
    failed: list[str] = field(default_factory=list)

    def rows(self, sessions: Sequence[Session]) -> list[Row]:
        """The rows of all sessions, those of before among them."""
        plan = [self._keys(session, source) for session in sessions for source in session.sources]
        before = sum(self.journal.get(*key) is not None for keys in plan for key in keys)
        with progress("compare", sum(map(len, plan)), before) as advance:
            for number, session in enumerate(sessions):
                self._session(session, number < _SHOWN, advance)
        rows = [self.journal.get(*key) for keys in plan for key in keys]
        return [row for row in rows if row is not None]

    def _keys(self, session: Session, source: str) -> list[tuple[str, str, str, str]]:
        goal = self.segmenter.model.config.target
        knowing = [method.name for method in self.methods if method.knows(source)]
        names = [*knowing, real_name(goal)]
        pair = f"{source}→{goal}"
        return [(session.subject, session.session, pair, name) for name in names]

    def _session(self, session: Session, shown: bool, advance: Advance) -> None:
        todo = {
            source: [key[-1] for key in self._keys(session, source) if not self.journal.get(*key)]
            for source in session.sources
        }
        if not any(todo.values()):
            return
        try:
            reader = Reader(session, self._segment, self.slices)
        except CaseError as error:
            self._fail(session.target, error)
            advance(sum(map(len, todo.values())))
            return
        for source, names in todo.items():
            if names:
                self._source(reader, source, names, shown, advance)

    def _source(
        self, reader: Reader, source: str, names: Sequence[str], shown: bool, advance: Advance
    ) -> None:
        session = reader.session
        path = session.sources[source]
        try:
            case = reader.read(source)
        except CaseError as error:
            self._fail(path, error)
            advance(len(names))
            return
        self._warn_unstripped(case, path)
        if shown:
            report.draw_source(self.pictures, session.name, case)
        for name in names:
            try:
                judged = self._judge(case, name)
            except CaseError as error:
                self._fail(path, error)
            else:
                if shown:
                    report.draw(self.pictures, session.name, case, judged)
                self.journal.add(judged.row)
            advance(1)

    def _segment(self, image: Volume, mask: np.ndarray) -> LabelVolume:
        return self.segmenter.segment(image, mask).labels

    def _judge(self, case: Case, name: str) -> Judged:
        method = next((one for one in self.methods if one.name == name), None)
        return judge_real(case) if method is None else judge(case, method, self.segmenter)

    def _fail(self, path: Path, error: CaseError) -> None:
        message = str(error)
        self.failed.append(message if str(path) in message else f"-i {path}: {message}")
        _log.warning("chiasm: %s", self.failed[-1])

    def _warn_unstripped(self, case: Case, path: Path) -> None:
        brain_only = any(
            part.model.config.brain_only for method in self.methods for part in method.parts
        )
        if brain_only and looks_unstripped(case.source, case.mask):
            _log.warning(
                "chiasm: warning: %s looks like a whole head; models here know skull-stripped "
                "brains alone: strip it first, or put the brain (_mask) beside it",
                path,
            )
