"""Foreign agreement: what segmenters that others trained make of translations.

    python benchmarks/foreign.py --data DIR [--models DIR] [--translators FOLDER,NAME=FOLDER,...]

DIR holds the sets that `foreign_cases` names, and by default the folder ``foreign_models`` with
the networks that `foreign_networks` describes. A line names each set that is not there.

*Agreement* is the Dice between what a segmenter of T1 makes of an image and what it makes of the
real T1 of the same head. It is measured for each translation, for the source as it is, for the
foreign segmenter of any contrast on the source (``robust_tissue``), for our segmenters of any
contrast that --any-contrast lists, and for label maps that --saved names. Beside it stands what
``robust_tissue`` and our segmenter of T1 make of the real T1. *Accuracy* is the Dice with true
tissues. Both are those of grey and white matter, and their mean. Voxels outside the field of view
of either scan do not count.

All labels are compared on a lattice of 1 mm over the real T1. Translators work on the scan as it
was made. Whole heads are measured twice: as they are, and with the brain that the foreign brain
extraction finds in the real T1. --slices N is a quick look: N axial slices in the middle of the
brain are compared, and only these and a margin are translated.

The results are saved after every case, and a case that was done with the same settings and weights
is not done again; other translators and cases are added to the file. Labels of the foreign networks
are kept in the folder --runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml

from chiasm import files
from chiasm.image.foreground import foreground_mask
from chiasm.image.resample import resample_onto
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.device import Resources
from chiasm.methods.base import Translator
from chiasm.methods.load import load_translator
from chiasm.registry import DEFAULT_MODEL, DEFAULT_SEGMENTER
from chiasm.scoring.slices import axial_axis
from chiasm.scoring.statistics import bootstrap_interval, paired_test
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter
from foreign_cases import BRAIN, ForeignCase, Scans, foreign_cases
from foreign_networks import (
    FIELD,
    QUANTILES,
    T1_NETWORKS,
    MeshNet,
    RobustTissue,
    any_contrast,
    brain_extraction,
    lattice,
    t1_segmenters,
)
from harness import cell, rows_to_extend, save

AS_IS = "source as it is"
OF_REAL = " of the real T1"  # ends the names of what is made of the real T1 and not of the source
AGREEMENT, ACCURACY = "agreement", "accuracy"
SCORES = ("dice_grey", "dice_white", "dice")
_TISSUES = {"grey": 2, "white": 3}
_AND = ", "  # between the weights of a translator and of a segmenter
_SLAB_MARGIN = 16  # mm of the scan on either side of the slices of a quick look

Row = dict[str, Any]


def dice(found: LabelVolume, reference: LabelVolume, inside: np.ndarray | None = None) -> Row:
    """Dice of grey and white matter and their mean, of two label maps on one grid.

    Parameters
    ----------
    found, reference : LabelVolume, shape (I, J, K)
        With 2 for grey and 3 for white matter.
    inside : bool array, shape (I, J, K), optional
        The voxels that count.
    """
    keep = np.ones(found.shape, bool) if inside is None else inside
    row: Row = {}
    for name, value in _TISSUES.items():
        a, b = ((one.array == value) & keep for one in (found, reference))
        total = int(a.sum()) + int(b.sum())
        row[f"dice_{name}"] = 2 * int((a & b).sum()) / total if total else None
    known = [value for value in row.values() if value is not None]
    return row | {"dice": float(np.mean(known)) if known else None}


def foreign_agreement(
    translation: Volume,
    real: Volume,
    network: Segmenter,
    mask: np.ndarray | None = None,
) -> dict[str, float | None]:
    """Agreement of a translation with the real T1, as a foreign segmenter of T1 sees both.

    Parameters
    ----------
    translation : Volume, shape (I, J, K)
        Of any grid in the space of the T1.
    real : Volume
        The real T1 of the same head.
    network : Segmenter
        One of `foreign_networks.t1_segmenters`. With a cache it segments the T1 only once.
    mask : bool array, shape (I, J, K), optional
        The brain on the grid of the translation. What lies outside becomes air in both images.

    Returns
    -------
    dict
        ``dice_grey``, ``dice_white`` and their mean ``dice``, from 0 to 1.
    """
    view = _View(Scans(translation, real, mask))
    reference = view.segment(network, real)
    return dice(view.segment(network, translation), reference, view.inside)


class _View:
    """The images of a case on its lattice, and the voxels that count.

    Parameters
    ----------
    scans : Scans
    slices : int, optional
        The number of axial slices in the middle of the brain that count; by default all.
    """

    def __init__(self, scans: Scans, slices: int | None = None) -> None:
        self.scans = scans
        self.grid = lattice(scans.source if scans.real is None else scans.real)
        self.mask = None if scans.mask is None else self.placed(_labels(scans.mask, scans.source))
        inside = np.ones(self.grid.shape, bool)
        for one in (scans.source, scans.real):
            if one is not None:
                inside &= self.placed(_labels(np.ones(one.shape, bool), one)).array > 0
        self.rows: slice | None = None
        if slices is not None:
            brain = scans.mask
            if brain is None:
                brain = foreground_mask(scans.source)
            held = np.flatnonzero(self.placed(_labels(brain, scans.source)).array.any(axis=(0, 2)))
            start = max(0, int(held.mean()) - slices // 2)
            self.rows = slice(start, start + slices)
            inside[:, : self.rows.start] = inside[:, self.rows.stop :] = False
        self.inside = inside

    def placed(self, image: Any) -> Any:
        """An image or a label map on the lattice of the case."""
        return image if image.same_grid(self.grid) else resample_onto(image, self.grid)

    def segment(self, segmenter: Segmenter, image: Volume, share: float = 1.0) -> LabelVolume:
        """The labels of a foreign network on the lattice."""
        mask = None if self.mask is None else self.mask.array > 0
        placed = self.placed(image)
        return segmenter.segment(placed, mask, **({} if share == 1 else {"share": share})).labels

    def slab(self, image: Volume, mask: np.ndarray) -> tuple[Volume, np.ndarray, float]:
        """The slices that count and a margin, of an image and its foreground; and their share."""
        if self.rows is None:
            return image, mask, 1.0
        axis = axial_axis(image)
        others = [np.arange(n) if k == axis else [n // 2] for k, n in enumerate(image.shape)]
        points = np.stack(np.meshgrid(*others, indexing="ij"), -1).reshape(-1, 3)
        to_grid = np.linalg.inv(self.grid.affine) @ image.affine
        heights = (points @ to_grid[:3, :3].T + to_grid[:3, 3])[:, 1]
        low, high = self.rows.start - _SLAB_MARGIN, self.rows.stop + _SLAB_MARGIN
        kept = np.flatnonzero((heights >= low) & (heights < high))
        window = [slice(None)] * 3
        window[axis] = slice(int(kept.min()), int(kept.max()) + 1)
        affine = np.array(image.affine)
        affine[:3, 3] += affine[:3, axis] * window[axis].start
        cut, part = image.array[tuple(window)], mask[tuple(window)]
        return replace(image, array=cut, affine=affine), part, part.sum() / mask.sum()


def _labels(mask: np.ndarray, like: Volume) -> LabelVolume:
    return LabelVolume(mask.astype(np.int16), like.affine)


@dataclass(frozen=True)
class Compared:
    """What is compared: translators by their names, and segmenters.

    ``own`` is our segmenter of T1, for accuracy. ``saved`` names folders of label maps. With
    ``of_real``, translators are also given the real T1.
    """

    translators: Mapping[str, Translator]
    networks: Sequence[MeshNet]
    robust: RobustTissue
    own: Segmenter
    any_contrast: Sequence[Segmenter]
    saved: Mapping[str, Path]
    of_real: bool = False


class Measured:
    """The rows of one case; each segmentation is made when it is first needed."""

    def __init__(self, case: ForeignCase, compared: Compared, slices: int | None) -> None:
        self.case, self.compared = case, compared
        self.scans = case.read()
        self.view = _View(self.scans, slices)
        self.truth = None
        if self.scans.truth is not None:
            self.truth = self.view.placed(self.scans.truth)
        self.foreground = self.scans.mask
        if self.foreground is None:
            self.foreground = foreground_mask(self.scans.source)

    def rows(self, done: set[tuple[str, ...]]) -> Iterator[Row]:
        """Rows that are not done yet, see `key`."""
        for network in self.compared.networks:
            yield from self._untranslated(network, done)
        yield from self._any_contrast(done)
        for name, translator in self.compared.translators.items():
            yield from self._translated(name, translator, done)

    @property
    def _paired(self) -> bool:
        """Whether there is a real T1 beside a source of another modality."""
        return self.scans.real is not None and self.scans.real is not self.scans.source

    @cached_property
    def _mask_of_real(self) -> np.ndarray:
        """The foreground of the real T1: the brain, or the whole head if no mask is known."""
        scans = self.scans
        assert scans.real is not None
        if scans.mask is None:
            return foreground_mask(scans.real)
        return resample_onto(_labels(scans.mask, scans.source), scans.real).array > 0

    def _row(self, measure: str, method: str, network: str, model: str = "") -> Row:
        """The names of a row.

        ``network`` is the segmenter of the reference if agreement is measured, and the one that
        made the labels if accuracy is. ``model`` tells the weights of all that is ours.
        """
        case = self.case
        return {
            "set": case.group,
            "subject": case.subject,
            "session": case.session,
            "source": case.modality,
            "view": case.view,
            "measure": measure,
            "method": method,
            "network": network,
            "model": model,
        }

    def _scored(
        self, wanted: Sequence[Row], labels: Any, done: set[tuple[str, ...]]
    ) -> Iterator[Row]:
        """The wanted rows that are not done, with the scores of the labels (made if needed)."""
        left = [row for row in wanted if key(row) not in done]
        if not left:
            return
        start = perf_counter()
        found = labels()
        seconds = round(perf_counter() - start, 1)
        for row in left:
            reference = self.truth
            if row["measure"] == AGREEMENT:
                by_name = {one.name: one for one in self.compared.networks}
                assert self.scans.real is not None
                reference = self.view.segment(by_name[row["network"]], self.scans.real)
            assert reference is not None
            yield row | dice(found, reference, self.view.inside) | {"seconds": seconds}

    def _untranslated(self, network: MeshNet, done: set[tuple[str, ...]]) -> Iterator[Row]:
        view, scans = self.view, self.scans
        wanted = []
        if self._paired:
            wanted.append(self._row(AGREEMENT, AS_IS, network.name))
        if self.truth is not None and self.case.modality != network.modality:
            wanted.append(self._row(ACCURACY, AS_IS, network.name))
        yield from self._scored(wanted, lambda: view.segment(network, scans.source), done)
        if self.truth is not None and scans.real is not None:
            real = scans.real
            row = self._row(ACCURACY, "real T1", network.name)
            yield from self._scored([row], lambda: view.segment(network, real), done)

    def _any_contrast(self, done: set[tuple[str, ...]]) -> Iterator[Row]:
        view, scans, robust = self.view, self.scans, self.compared.robust
        yield from self._scored(
            self._against_all(robust.name), lambda: view.segment(robust, scans.source), done
        )
        if self._paired:
            real = scans.real
            assert real is not None
            name = f"{robust.name}{OF_REAL}"
            wanted = [self._row(AGREEMENT, name, one.name) for one in self.compared.networks]
            yield from self._scored(wanted, lambda: view.segment(robust, real), done)
            own = self.compared.own
            name, model = f"{own.name}{OF_REAL}", str(own.identity().get("model", ""))
            wanted = [self._row(AGREEMENT, name, one.name, model) for one in self.compared.networks]
            labels = lambda: view.placed(own.segment(real, self._mask_of_real).labels)  # noqa: E731
            yield from self._scored(wanted, labels, done)
        for one in self.compared.any_contrast:
            model = str(one.identity().get("model", ""))
            wanted = self._against_all(one.name, model)
            yield from self._scored(wanted, lambda one=one: self._own(one, scans.source), done)
        for name, folder in self.compared.saved.items():
            path = folder / f"{self.case.name.replace(' ', '_')}.nii.gz"
            if path.is_file():
                wanted = self._against_all(name)
                yield from self._scored(
                    wanted,
                    lambda path=path: view.placed(files.read_labels(path)),
                    done,
                )
        if self.truth is not None and scans.real is scans.source:
            own = self.compared.own
            model = str(own.identity().get("model", ""))
            row = self._row(ACCURACY, "real T1", own.name, model)
            yield from self._scored([row], lambda: self._own(own, scans.source), done)

    def _against_all(self, method: str, model: str = "") -> list[Row]:
        """Rows of labels of the source: agreement with each network, and accuracy."""
        networks = self.compared.networks if self._paired else ()
        wanted = [self._row(AGREEMENT, method, one.name, model) for one in networks]
        if self.truth is not None:
            wanted.append(self._row(ACCURACY, method, method, model))
        return wanted

    def _own(self, segmenter: Segmenter, image: Volume) -> LabelVolume:
        """The labels of one of our segmenters, which works on the scan's own grid."""
        return self.view.placed(segmenter.segment(image, self.foreground).labels)

    def _translated(
        self, name: str, translator: Translator, done: set[tuple[str, ...]]
    ) -> Iterator[Row]:
        sources = translator.model.config.sources
        known = not sources or self.case.modality in sources
        if not known or self.case.modality == translator.model.config.target:
            return
        model = translator.model.fingerprint
        made: list[tuple[Volume, np.ndarray, float]] = []

        def translation() -> tuple[Volume, np.ndarray, float]:
            if not made:
                image, mask, share = self.view.slab(self.scans.source, self.foreground)
                made.append((translator.translate(image, mask).volume, mask, share))
            return made[0]

        for network in self.compared.networks:
            wanted = []
            if self._paired:
                wanted.append(self._row(AGREEMENT, name, network.name, model))
            if self.truth is not None:
                wanted.append(self._row(ACCURACY, name, network.name, model))

            def labels(network: MeshNet = network) -> LabelVolume:
                image, _, share = translation()
                return self.view.segment(network, image, share)

            yield from self._scored(wanted, labels, done)
        if self.truth is not None:
            own = self.compared.own

            def ours() -> LabelVolume:
                image, mask, _ = translation()
                return self.view.placed(own.segment(image, mask).labels)

            both = _AND.join((model, str(own.identity().get("model", ""))))
            yield from self._scored([self._row(ACCURACY, name, own.name, both)], ours, done)
        if self.compared.of_real and self._paired:
            yield from self._real_translated(f"{name}{OF_REAL}", translator, done)

    def _real_translated(
        self, name: str, translator: Translator, done: set[tuple[str, ...]]
    ) -> Iterator[Row]:
        """What the translator makes of the real T1: what is left to lose if nothing is missing."""
        real = self.scans.real
        assert real is not None
        image, inside, share = self.view.slab(real, self._mask_of_real)

        @cache
        def made() -> Volume:
            return translator.translate(image, inside).volume

        for network in self.compared.networks:
            row = self._row(AGREEMENT, name, network.name, translator.model.fingerprint)

            def labels(network: MeshNet = network) -> LabelVolume:
                return self.view.segment(network, made(), share)

            yield from self._scored([row], labels, done)


def key(row: Row) -> tuple[str, ...]:
    """What tells a row from all others."""
    names = ("set", "subject", "session", "source", "view", "measure", "method", "network", "model")
    return tuple(row[name] for name in names)


def _by_subject(rows: Sequence[Row], score: str) -> dict[tuple[str, str], float]:
    """The mean score of each subject over its sessions."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row[score] is not None:
            found.setdefault((row["set"], row["subject"]), []).append(row[score])
    return {subject: float(np.mean(values)) for subject, values in found.items()}


def summarised(rows: Sequence[Row]) -> list[Row]:
    """Means over subjects with their intervals, of every set, source, view and method."""
    names = ("measure", "network", "set", "source", "view", "method")
    lines = []
    for group in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        own = [row for row in rows if tuple(row[name] for name in names) == group]
        line: Row = dict(zip(names, group, strict=True))
        for score in SCORES:
            values = list(_by_subject(own, score).values())
            if values:
                low, high = bootstrap_interval(values)
                interval = [low, high] if np.isfinite([low, high]).all() else None
                line[score] = {"mean": float(np.mean(values)), "interval": interval}
            line["subjects"] = len(values)
        lines.append(line)
    return sorted(lines, key=lambda line: (line["measure"] == ACCURACY,))


def differences(rows: Sequence[Row], other: str) -> list[Row]:
    """Agreement of every method less that of another one, paired over the subjects of all sets.

    Brains alone count, because a whole head is the same subject once more.
    """
    counted = [row for row in rows if row["measure"] == AGREEMENT and row["view"] == BRAIN]
    lines = []
    groups = dict.fromkeys((row["source"], row["network"]) for row in counted)
    for source, network in groups:
        own = [row for row in counted if (row["source"], row["network"]) == (source, network)]
        for method in dict.fromkeys(row["method"] for row in own):
            if method == other or method.endswith(OF_REAL):
                continue
            line: Row = {"source": source, "network": network, "method": f"{method} − {other}"}
            for score in SCORES:
                a, b = (
                    _by_subject([row for row in own if row["method"] == name], score)
                    for name in (method, other)
                )
                both = [subject for subject in a if subject in b]
                if not both:
                    continue
                test = paired_test([a[one] for one in both], [b[one] for one in both])
                interval = [test.low, test.high]
                if not np.isfinite(interval).all():
                    interval = None
                line[score] = {
                    "mean": test.difference,
                    "interval": interval,
                    "p_value": test.p_value,
                }
                line["subjects"] = test.subjects
            lines.append(line)
    return lines


def show(title: str, lines: Sequence[Row], names: Sequence[str]) -> None:
    """Print lines as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for name in (*names, *SCORES, "subjects"):
        table.add_column(name, justify="left" if name in names else "right")
    for line in lines:
        table.add_row(*(cell(line.get(name)) for name in (*names, *SCORES, "subjects")))
    Console(width=200).print(table)


def translators(specifications: str, resources: Resources) -> dict[str, Translator]:
    """Translators of T1 by the names of their rows: ``[NAME=]FOLDER[@option=value]``, …"""
    found = {}
    for one in filter(None, specifications.split(",")):
        head, *assignments = one.split("@")
        name, _, folder = head.rpartition("=")
        pairs = (assignment.partition("=") for assignment in assignments)
        options = {option: yaml.safe_load(value) for option, _, value in pairs}
        method = options.pop("method", None)
        made = load_translator(folder, method, resources=resources, **options)
        found[name or "@".join([Path(folder).name, *assignments])] = made
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, help="by default DATA/foreign_models")
    parser.add_argument("--translators", default=DEFAULT_MODEL, help="[NAME=]FOLDER[@option=value]")
    parser.add_argument("--any-contrast", default="", help="our segmenters of any contrast")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="ours, for accuracy")
    parser.add_argument("--saved", action="append", default=[], help="NAME=FOLDER of label maps")
    parser.add_argument("--of-real", action="store_true", help="also translate the real T1")
    parser.add_argument("--networks", default=",".join(T1_NETWORKS))
    parser.add_argument("--cases", default="", help="words in the names of cases; all if not given")
    parser.add_argument("--slices", type=int, help="a quick look at so many axial slices")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    parser.add_argument("--runs", type=Path, default=Path("runs/foreign"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", help="by default foreign, or foreign_quick for a quick look")
    return parser


def main() -> None:
    parser = _parser()
    chosen = parser.parse_args()
    name = chosen.save or ("foreign" if chosen.slices is None else "foreign_quick")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    models = chosen.models or chosen.data / "foreign_models"
    resources = Resources(device=chosen.device)
    saved = (one.partition("=") for one in chosen.saved)
    compared = Compared(
        translators(chosen.translators, resources),
        t1_segmenters(models, chosen.networks.split(","), chosen.runs),
        any_contrast(models, chosen.runs),
        load_segmenter(chosen.segmenter, resources),
        [load_segmenter(one, resources) for one in filter(None, chosen.any_contrast.split(","))],
        {name: Path(folder) for name, _, folder in saved},
        chosen.of_real,
    )
    words = [word for word in chosen.cases.split(",") if word]
    settings = {"slices": chosen.slices, "field": FIELD, "quantiles": QUANTILES}
    rows = rows_to_extend(parser, name, settings)
    done = {key(row) for row in rows}
    met = False
    for case in foreign_cases(chosen.data, brain_extraction(models, chosen.runs)):
        if words and not any(word in case.name for word in words):
            continue
        met = True
        for row in Measured(case, compared, chosen.slices).rows(done):
            rows.append(row)
            scores = ", ".join(f"{name} {cell(row[name])}" for name in SCORES)
            told = f"{row['measure']}, {row['method']}, {row['network']}"
            print(f"{case.name}: {told}: {scores} ({row['seconds']} s)", flush=True)
        save(name, settings, summary(rows, compared), rows)
    if not met:
        raise SystemExit(f"--cases {chosen.cases}: is in the name of no case; nothing was saved")
    lines = summary(rows, compared)
    names = ("set", "source", "view", "method", "network")
    for measure in (AGREEMENT, ACCURACY):
        own = [line for line in lines if line.get("measure") == measure]
        show(f"Foreign {measure}" if measure == AGREEMENT else "Accuracy", own, names)
    paired = [line for line in lines if "measure" not in line]
    show("Paired differences of agreement", paired, ("source", "method", "network"))


def summary(rows: Sequence[Row], compared: Compared) -> list[Row]:
    """The lines of all rows whose weights, if they are told, are those that are compared now."""
    current = {one.model.fingerprint for one in compared.translators.values()}
    current |= {str(one.identity().get("model", "")) for one in compared.any_contrast}
    current |= {str(compared.own.identity().get("model", "")), ""}
    kept = [row for row in rows if current.issuperset(row["model"].split(_AND))]
    return [*summarised(kept), *differences(kept, compared.robust.name)]


if __name__ == "__main__":
    main()
