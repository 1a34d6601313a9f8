"""``chiasm compare``: every method is run on every case, scored, summarised and shown."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import chiasm
from chiasm.admission import content_warnings, skull_warnings
from chiasm.cohort.run import failure
from chiasm.cohort.store import SETTINGS, ResultsStore
from chiasm.comparison import outputs
from chiasm.comparison.cases import Case, Reader, Session, find_sessions
from chiasm.comparison.methods import FLOOR, Candidate, load_methods
from chiasm.comparison.score import Row, Scored, real_name, score, score_real
from chiasm.comparison.summary import summarise
from chiasm.errors import CaseError, UsageError, explain
from chiasm.files import check_output
from chiasm.image.modality import modality_name
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.cost import memory_is
from chiasm.machine.device import Resources
from chiasm.machine.progress import Advance, progress
from chiasm.registry import DEFAULT_SEGMENTER
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter

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

    An interrupted comparison in the same folder is continued. Methods, subjects and sources can be
    added to a finished one.

    Parameters
    ----------
    input : path
        A folder of subjects. Each has an image of the target modality and of one or more sources,
        on any grids that share scanner space, and optionally a label map (``_dseg``) and a brain
        mask (``_mask``). See `chiasm.comparison.cases.find_sessions`.
    output : path
        The folder for ``table.csv``, ``rows.csv``, ``compare.json``, ``pictures.png`` and
        ``report.html``.
    methods : sequence of str
        See `chiasm.comparison.methods.load_methods`. By default these are all methods that
        can use a shipped model or need none.
        A model that was trained on certain sources is run on these sources only.
    target : str, optional
        The target modality. It has to be the segmenter's, which is the default.
    sources : sequence of str, optional
        Modalities to translate from; by default all that the folder holds.
    segmenter : str or Path
        A shipped name, a folder or a registered segmenter. All translations are segmented by it.
    slices : int, optional
        The number of evenly spaced axial slices of the foreground that are scored; by default
        all. A method that reads neighbouring slices or other planes still translates the complete
        scan.
    seed : int
        The seed of every method that draws random numbers.
    batch, device
        As in `chiasm.machine.device.Resources`.
    overwrite : bool
        Discard an earlier comparison in the folder and start anew.

    Returns
    -------
    dict
        The content of compare.json: ``settings``, ``versions``, ``methods``, ``summary``
        (`chiasm.comparison.summary.summarise`), ``rows`` (`chiasm.comparison.score.score`),
        ``left_out`` and ``failed``.

    Raises
    ------
    UsageError
        An unknown name or an illegal value.
    CaseError
        There is no case, none could be scored, or the output folder holds another comparison.
    """
    folder, output = Path(input), Path(output)
    if slices is not None and slices < 1:
        raise UsageError(explain("--slices", slices, "is too few", "at least 1"))
    resources = Resources(batch=batch, device=device)
    common = load_segmenter(segmenter, resources)
    if common.modality is None:
        legal = "a segmenter of one modality, which is then the target"
        raise UsageError(explain("--segmenter", common.name, "knows any modality", legal))
    goal = common.modality
    named = goal if target is None else modality_name(target, "--target")
    if named != goal:
        legal = f"{goal}, or a --segmenter of {named}"
        problem = f"is not the modality that --segmenter {common.name} knows"
        raise UsageError(explain("--target", named, problem, legal))
    chosen = load_methods(methods, common, seed=seed, resources=resources)
    wanted = None if sources is None else [modality_name(one, "--sources") for one in sources]
    sessions, left_out = find_sessions(folder, goal, wanted)
    for message in left_out:
        _log.warning("chiasm: %s", message)
    _check_known(chosen, {source for session in sessions for source in session.sources})
    for method in chosen:
        method.pipeline.load()

    settings = {
        "input": str(input),
        "target": goal,
        "segmenter": common.identity(),
        "slices": slices,
        "reference": outputs.LABEL_MAPS
        if sessions[0].truth
        else f"segmentation of the real {goal}",
    }
    if not (output / SETTINGS).exists():
        for name in outputs.OUTPUTS:
            check_output(output / name, overwrite)
    identities = {method.name: method.identity() for method in chosen}
    made_by = {"chiasm": chiasm.__version__}
    store = ResultsStore(output, settings | made_by, identities, overwrite=overwrite)
    run = _Run(chosen, common, slices, store, output / outputs.PICTURES)
    rows = run.rows(sessions)
    if not rows:
        raise CaseError(f"no case could be scored; the first error is: {run.failed[0]}")
    result = {
        **made_by,
        "settings": settings
        | {
            "sources": list(dict.fromkeys(name for one in sessions for name in one.sources)),
            "seed": seed,
            "batch": batch,
            "device": device,
            "image scores": "computed in the foreground, with both images scaled so that their own "
            "0.5th and 99.5th percentiles there are 0 and 1; SSIM is computed in axial slices",
            "foreground": "the brain mask beside the images, otherwise found on the source; the "
            "same for all methods",
            "seconds": "of translating a volume, or of segmenting it if nothing is translated",
            "memory": memory_is(device),
        },
        "versions": _versions(),
        "methods": identities,
        "summary": summarise(rows, ceiling=real_name(goal), floor=FLOOR),
        "rows": rows,
        "warnings": _warnings(rows),
        "left_out": left_out,
        "failed": run.failed,
    }
    outputs.write_all(output, result, [one.name for one in sessions[:_SHOWN]])
    return result


def _check_known(methods: Sequence[Candidate], sources: Iterable[str]) -> None:
    """Refuse a method that knows none of the sources, because it would have no row."""
    for one in methods:
        if not any(map(one.knows, sources)):
            problem = f"knows none of {', '.join(sorted(sources))}"
            known = ", ".join(name for config in one.configs for name in config.sources)
            raise UsageError(explain("--methods", one.name, problem, f"sources {known}"))


def _warnings(rows: Sequence[Row]) -> list[str]:
    """What looks wrong, once for each subject and pair of modalities."""
    found = (
        f"{row['subject']}, {row['pair']}: {row['warnings']}" for row in rows if row.get("warnings")
    )
    return list(dict.fromkeys(found))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "monai", "diffusers", "numpy", "scipy", "scikit-image")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


@dataclass
class _Run:
    """One pass over the sessions, which makes the rows that the store lacks."""

    methods: Sequence[Candidate]
    segmenter: Segmenter
    slices: int | None
    store: ResultsStore
    pictures: Path
    failed: list[str] = field(default_factory=list)

    def rows(self, sessions: Sequence[Session]) -> list[Row]:
        """The rows of all sessions, including those of earlier runs."""
        plan = [self._keys(session, source) for session in sessions for source in session.sources]
        before = sum(self.store.get(*key) is not None for keys in plan for key in keys)
        with progress("compare", sum(map(len, plan)), before) as advance:
            for number, session in enumerate(sessions):
                self._session(session, number < _SHOWN, advance)
        rows = [self.store.get(*key) for keys in plan for key in keys]
        return [row for row in rows if row is not None]

    def _keys(self, session: Session, source: str) -> list[tuple[str, str, str, str]]:
        goal = self.segmenter.modality
        knowing = [method.name for method in self.methods if method.knows(source)]
        names = [*knowing, real_name(goal)]
        pair = f"{source}→{goal}"
        return [(session.subject, session.session, pair, name) for name in names]

    def _session(self, session: Session, shown: bool, advance: Advance) -> None:
        todo = {
            source: [key[-1] for key in self._keys(session, source) if not self.store.get(*key)]
            for source in session.sources
        }
        if not any(todo.values()):
            return
        try:
            reader = Reader(session, self._segment, self.slices)
        except Exception as error:
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
        except Exception as error:
            self._fail(path, error)
            advance(len(names))
            return
        case = self._admitted(case, path)
        if shown:
            outputs.draw_source(self.pictures, session.name, case)
        for name in names:
            try:
                scored = self._score(case, name)
            except Exception as error:
                self._fail(path, error)
            else:
                if shown:
                    outputs.draw(self.pictures, session.name, case, scored)
                self.store.add(scored.row)
            advance(1)

    def _segment(self, image: Volume, mask: np.ndarray) -> LabelVolume:
        return self.segmenter.segment(image, mask).labels

    def _score(self, case: Case, name: str) -> Scored:
        method = next((one for one in self.methods if one.name == name), None)
        return score_real(case) if method is None else score(case, method)

    def _fail(self, path: Path, error: Exception) -> None:
        """Record and log the error of one scan. The other scans are still processed."""
        message = str(failure(error))
        self.failed.append(message if str(path) in message else f"-i {path}: {message}")
        _log.warning("chiasm: %s", self.failed[-1])

    def _admitted(self, case: Case, path: Path) -> Case:
        """The case with what looks wrong about its scan, which is also logged."""
        brain_only = [name for method in self.methods for name in method.pipeline.brain_only]
        found = (
            *case.warnings,
            *content_warnings(case.source),
            *skull_warnings(case.source, case.mask, brain_only=brain_only),
        )
        for warning in found:
            _log.warning("chiasm: warning: %s: %s", path, warning)
        return replace(case, warnings=found)
