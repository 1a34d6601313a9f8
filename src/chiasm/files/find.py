"""Finding scans, label maps and brain masks in files, folders and BIDS datasets.

A file that is named itself is always taken. From a folder only the structural scans are taken.
Label maps, functional and field-map images, the set-aside folders of a BIDS dataset, and the
outputs of Chiasm are left out and counted. No voxel is read: files are recognised by their name,
their folder and the description in their header.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from chiasm.errors import CaseError, UsageError, explain
from chiasm.files import endings, made_by_chiasm, not_scans, said_by_chiasm, stem
from chiasm.files.absent import absent_content
from chiasm.files.dicom.part import Part, is_archive, is_dicom, may_be_dicom, parts_of
from chiasm.files.dicom.read import modality_of
from chiasm.files.dicom.series import Series, series_of
from chiasm.files.subject import subject_of
from chiasm.image.modality import modality_from_filename, modality_name, split_modality

# Reasons to leave out a file. Two of them are followed by a name: "in derivatives", "already T1w".
LABELS = "label maps"
OTHER = "functional, diffusion, perfusion or field-map images"
MADE = "images that Chiasm made"
ASIDE = "in "
ALREADY = "already "
SERIES = "series that is "
NO_IMAGES = "files of the kind "

_DESCRIPTION = "dataset_description.json"

_Key = tuple[str, str]
"""The real folder of a file, and its name there. Two links to one file count as two files."""


@dataclass(frozen=True)
class FoundScan:
    """A scan that was found but not read yet.

    Attributes
    ----------
    path : Path
        The file, spelled as in the input.
    modality : str or None
        The BIDS suffix at the end of its name.
    subject, session : str
        From `chiasm.files.subject.subject_of`. The session may be empty.
    explicit : bool
        Whether the file itself was named, and not a folder above it.
    below : Path
        Its folder relative to the input folder. It is ``Path()`` for a file that was named.
    warnings : tuple of str
        Whole sentences that say what looks wrong about a file that was named.
    series : Series or None
        The DICOM series, if the scan is one. ``path`` is then the file, the archive, or the folder
        that holds the files.
    """

    path: Path
    modality: str | None
    subject: str
    session: str
    explicit: bool
    below: Path = Path()
    warnings: tuple[str, ...] = ()
    series: Series | None = None

    def __str__(self) -> str:
        return str(self.path) if self.series is None else f"{self.path} (series {self.name})"

    @property
    def name(self) -> str:
        """The name of the file without its ending, or the name of the series."""
        return stem(self.path) if self.series is None else self.series.name

    @property
    def image(self) -> Path | Series:
        """What is read: the file or the series."""
        return self.path if self.series is None else self.series

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the scan."""
        if self.series is None:
            return (self.path,)
        return tuple(dict.fromkeys(one.part.path for one in self.series.frames))

    @property
    def made_by_chiasm(self) -> bool:
        """Whether Chiasm translated or segmented it."""
        if self.series is None:
            return made_by_chiasm(self.path)
        return said_by_chiasm(self.series.comments)


@dataclass(frozen=True)
class Search:
    """The result of a search for scans.

    Attributes
    ----------
    scans : tuple of FoundScan
        In the order of the inputs. The scans of a folder are sorted.
    left_out : mapping of str to tuple of Path
        The images of folders that were left out, by the reason in words.
    errors : tuple of CaseError
        Inputs that do not exist, folders that cannot be read, and files whose content is absent.
    absent : tuple of Path
        The files whose content is absent.
    inputs : tuple of Path
        The files and folders that were searched.
    """

    scans: tuple[FoundScan, ...]
    left_out: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    errors: tuple[CaseError, ...] = ()
    absent: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()

    def sentences(self) -> list[str]:
        """One whole sentence for each reason to leave out files, with the number of files."""
        return [_sentence(reason, files) for reason, files in self.left_out.items()]


def _sentence(reason: str, files: Sequence[Path]) -> str:
    many = len(files) != 1
    images = f"{len(files)} image{'s' * many}"
    were, they, are = ("were", "they", "are") if many else ("was", "it", "is")
    if reason == LABELS:
        return f"{len(files)} label map{'s' * many} or mask{'s' * many} {were} left out."
    if reason == MADE:
        return f"{images} that Chiasm made {were} left out."
    if reason == OTHER:
        kinds = ", ".join(dict.fromkeys(_other_kind(file) for file in files))
        a = "" if many else "a "
        image = "images" if many else "image"
        return (
            f"{images} {were} left out because {they} {are} {a}functional, diffusion, perfusion "
            f"or field-map {image} ({kinds})."
        )
    if reason.startswith(SERIES):
        each = "each" if many else "it"
        kind = reason.removeprefix(SERIES)
        return f"{len(files)} DICOM series {were} left out because {each} is {kind}."
    if reason.startswith(NO_IMAGES):
        kind = reason.removeprefix(NO_IMAGES)
        return (
            f"{len(files)} DICOM file{'s' * many} {were} left out because {they} {are} of the kind "
            f"{kind} and not images of MR or CT."
        )
    if reason.startswith(ASIDE):
        lie = "lie" if many else "lies"
        folder = reason.removeprefix(ASIDE)
        return (
            f"{images} {were} left out because {they} {lie} in the folder {folder} of a BIDS "
            "dataset."
        )
    return f"{images} {were} left out because {they} {are} {reason}."


def _other_kind(file: Path) -> str:
    """The BIDS suffix of a functional or field-map image, otherwise the name of its folder."""
    if suffix := not_scans.other_suffix(stem(file)):
        return suffix
    folders = (one for one in reversed(file.parts[:-1]) if not_scans.is_other_folder(one))
    return next(folders, file.parent.name)


def find_scans(
    inputs: Sequence[Path | str],
    *,
    modality: str | None = None,
    leave_out: str | None = None,
    dicom: bool = False,
    argument: str = "-i",
) -> Search:
    """Find the scans in files and folders. No voxel is read.

    A file that is named is always taken, with a warning if it looks wrong. From a folder, every
    scan below it is taken. Links to folders are followed, each real folder is visited once, and
    hidden files and folders are skipped. These files of a folder are left out and counted:

    - label maps, masks and probability maps, by their names;
    - functional, diffusion, perfusion and field-map images, by their folders and BIDS suffixes;
    - files in ``derivatives``, ``sourcedata``, ``code`` and ``stimuli`` of a BIDS dataset, unless
      that folder, or a folder inside it, is the input itself;
    - outputs of Chiasm, by the header of the file, or by ``GeneratedBy`` in the
      ``dataset_description.json`` of a derivative dataset. Phantoms do not count as outputs.

    A folder counts as a BIDS dataset if it holds ``dataset_description.json`` or folders called
    ``sub-…``. A file that is reached by several paths counts once.

    Parameters
    ----------
    inputs : sequence of path
        Files, folders and BIDS datasets.
    modality : str, optional
        From folders, only scans whose names end with this modality are taken. Other scans are not
        counted.
    leave_out : str, optional
        A modality whose scans in folders are left out and counted.
    dicom : bool
        Whether the series of DICOM files and of zip archives are scans too. Archives have to be
        named themselves. A series that has a fault is an error. Localizers, phase images,
        projections, and images of diffusion, perfusion and function are left out and counted.
    argument : str
        The argument that named the inputs; an error begins with it.

    Raises
    ------
    CaseError
        No input holds a scan that can be used. The message says what was left out, and why. If
        only some of the inputs hold none, this error is among ``errors`` of the result.
    UsageError
        The modality is unknown.
    """
    wanted = None if modality is None else modality_name(modality, argument)
    search = _Finder(wanted, leave_out, dicom, argument)
    for path in map(Path, inputs):
        if path.is_dir():
            search.add_folder(path)
        else:
            search.add_file(path)
    return replace(search.result(), inputs=tuple(map(Path, inputs)))


class _Finder:
    """Collects the files of the inputs, each once."""

    def __init__(
        self, modality: str | None, leave_out: str | None, dicom: bool, argument: str
    ) -> None:
        self.modality, self.leave_out, self.argument = modality, leave_out, argument
        self.dicom = dicom
        self.scans: dict[_Key, FoundScan] = {}
        self.left_out: dict[str, dict[_Key, Path]] = defaultdict(dict)
        self.errors: list[CaseError] = []
        self.unusable: list[CaseError] = []
        self.absent: dict[_Key, Path] = {}

    def add_file(self, path: Path) -> None:
        key = _key(path)
        if absent := absent_content(path, self.argument):
            self._add_absent(key, path, absent)
            return
        if not path.exists():
            legal = "an existing file or folder"
            self.errors.append(CaseError(explain(self.argument, path, "does not exist", legal)))
            return
        if self.dicom and (is_archive(path) or is_dicom(path)):
            self._add_series(path, parts_of(path), explicit=True)
            return
        subject, session = subject_of(path, _folder_of_subject(path))
        named = modality_from_filename(stem(path))
        warnings = tuple(_doubts(path))
        new = FoundScan(path, named, subject, session, True, Path(), warnings)
        if known := self.scans.get(key):
            new = replace(known, explicit=True, warnings=warnings)
        self.scans[key] = new
        for files in self.left_out.values():
            files.pop(key, None)

    def add_folder(self, folder: Path) -> None:
        usable = False
        reasons: dict[str, dict[_Key, Path]] = defaultdict(dict)
        met: list[tuple[Path, _Key, Path, str | None, frozenset[str]]] = []
        parts: list[Part] = []
        for found in _folders(folder, not_scans.ASIDE):
            if isinstance(found, OSError):
                problem = f"cannot be read ({found.strerror})"
                legal = "a folder that you are allowed to read"
                path = found.filename
                self.errors.append(CaseError(explain(self.argument, path, problem, legal)))
                continue
            siblings = frozenset(map(stem, found.files))
            met += [
                (found.path / name, (found.real, name), found.below, found.reason, siblings)
                for name in found.files
            ]
            if self.dicom:
                candidates = [found.path / name for name in found.others if may_be_dicom(name)]
                held = [one for one in candidates if is_dicom(one)]
                if found.reason is None:
                    parts += map(Part, held)
                else:
                    reasons[found.reason] |= {_key(one): one for one in held}
        for path, key, below, reason, siblings in sorted(met, key=lambda one: one[0].parts):
            if key in self.scans or key in self.absent:
                usable = True
                continue
            modality = modality_from_filename(stem(path))
            why = _why_not(path, reason, siblings)
            if why != LABELS and self.modality not in (None, modality):
                continue
            if why is None and (absent := absent_content(path, self.argument)):
                self._add_absent(key, path, absent)
                usable = True
                continue
            if why is None and made_by_chiasm(path):
                why = MADE
            if why is None and self.leave_out is not None and modality == self.leave_out:
                why = f"{ALREADY}{modality}"
            if why is not None:
                reasons[why][key] = path
                continue
            subject, session = subject_of(path, folder)
            self.scans[key] = FoundScan(path, modality, subject, session, False, below)
            usable = True
        parts.sort(key=lambda one: one.path.parts)
        usable |= self._add_series(folder, parts, reasons)
        for why, files in reasons.items():
            self.left_out[why] |= files
        if not usable:
            self.unusable.append(self._nothing_usable(folder, reasons))

    def _add_series(
        self,
        root: Path,
        parts: Iterable[Part],
        reasons: dict[str, dict[_Key, Path]] | None = None,
        *,
        explicit: bool = False,
    ) -> bool:
        """Add the DICOM series of files below a folder, or of a file that was named itself.

        Returns whether anything was found of which the user is told: a scan or an error.
        """
        try:
            found = series_of(parts)
        except CaseError as error:
            self.errors.append(error)
            return True
        self.errors += found.errors
        usable = bool(found.errors)
        reasons = defaultdict(dict) if reasons is None else reasons
        for kind, files in found.left_out.items():
            reasons[f"{NO_IMAGES}{kind}"] |= {_key(one.path): one.path for one in files}
        for one in found.series:
            path = one.path
            key = (str(path.resolve()), f"{one.uid} {one.part}")
            if key in self.scans:
                usable = True
                continue
            scan = _scan_of_series(one, root, explicit=explicit)
            if not explicit:
                if self.modality not in (None, scan.modality):
                    continue
                if (why := self._why_not_series(scan)) is not None:
                    reasons[why][key] = one.frames[0].part.path
                    continue
            usable = True
            if one.fault is not None:
                self.errors.append(one.fault)
            else:
                self.scans[key] = scan
        if explicit and not usable:
            legal = "a file or an archive with images of MR or CT"
            problem = "holds no DICOM series"
            self.errors.append(CaseError(explain(self.argument, root, problem, legal)))
        return usable

    def _why_not_series(self, scan: FoundScan) -> str | None:
        """The reason why a series of a folder is left out; None if it is a scan."""
        assert scan.series is not None
        if scan.made_by_chiasm:
            return MADE
        if scan.series.not_a_scan is not None:
            return f"{SERIES}{scan.series.not_a_scan}"
        if self.leave_out is not None and scan.modality == self.leave_out:
            return f"{ALREADY}{scan.modality}"
        return None

    def _add_absent(self, key: _Key, path: Path, error: CaseError) -> None:
        if key not in self.absent:
            self.absent[key] = path
            self.errors.append(error)

    def _nothing_usable(
        self, folder: Path, reasons: Mapping[str, Mapping[_Key, Path]]
    ) -> CaseError:
        problem = f"holds no {f'{self.modality} ' if self.modality else ''}image"
        if reasons:
            counted = [_sentence(why, list(files.values())) for why, files in reasons.items()]
            problem += f" that can be used. {' '.join(counted)}".removesuffix(".")
        legal = f"a folder with scans that end with {', '.join(endings())}"
        if reasons:
            legal += "; a file that is named itself is always taken"
        return CaseError(explain(self.argument, folder, problem, legal))

    def result(self) -> Search:
        if self.unusable and not self.scans and not self.errors:
            raise self.unusable[0]
        left_out = {why: tuple(files.values()) for why, files in self.left_out.items() if files}
        errors = (*self.errors, *self.unusable)
        return Search(tuple(self.scans.values()), left_out, errors, tuple(self.absent.values()))


def find_images(
    path: str | Path, *, modality: str | None = None, argument: str = "-i"
) -> list[Path]:
    """Find the scans of one path with `find_scans`, and raise the first error.

    Raises
    ------
    CaseError
        The path does not exist, is a folder without such an image, or holds a file whose content
        is absent.
    UsageError
        The modality is unknown.
    """
    search = find_scans([Path(path)], modality=modality, argument=argument)
    if search.errors:
        raise search.errors[0]
    return [scan.path for scan in search.scans]


def find_maps(folder: str | Path, kind: Literal["dseg", "mask", "probseg"]) -> list[Path]:
    """Find the maps of one kind below a folder by their BIDS names, in sorted order.

    Hidden files, maps in the folders of functional, diffusion and field-map images, and outputs of
    Chiasm are left out, as in `find_scans`. The folders ``derivatives`` and ``sourcedata`` are
    searched, because BIDS keeps manual segmentations and brain masks there. Masks of a lesion or
    of another structure by their name do not count as ``mask``.

    A map whose content is absent is returned too, so that the error is raised when it is read.

    Parameters
    ----------
    folder : str or Path
    kind : {"dseg", "mask", "probseg"}
        Label maps, brain masks or probabilities.
    """
    return sorted(
        path
        for found in _folders(Path(folder), ())
        if not isinstance(found, OSError) and found.reason in (None, LABELS)
        for path in (found.path / name for name in found.files)
        if not_scans.suffix_of(stem(path)) == kind
        and (kind != "mask" or not_scans.is_brain_mask(stem(path)))
        and not made_by_chiasm(path)
    )


def mask_beside(scan: str | Path) -> Path | None:
    """Find the brain mask in the folder of a scan that belongs to the scan by its name.

    Three kinds of names are looked for in this order, and the first that exists is taken:

    1. the scan's own name: ``sub-01_T2w_mask``, ``sub-01_T2w_brainmask``,
       ``sub-01_T2w_desc-brain_mask`` for ``sub-01_T2w``;
    2. the scan's entities without ``desc`` and modality: ``sub-01_desc-brain_mask``,
       ``sub-01_mask``. All other entities have to be the same, so
       ``sub-01_space-MNI_desc-brain_mask`` belongs to ``sub-01_space-MNI_T2w`` only;
    3. ``brainmask``, ``brain_mask`` or ``mask`` alone, if the folder holds scans of one subject.

    Returns
    -------
    Path or None
        None if there is no such mask.

    Raises
    ------
    CaseError
        There are two masks of the same kind, and either could be meant.
    """
    scan = Path(scan)
    folder = scan.parent
    others = [
        Path(entry.path)
        for entry in sorted(os.scandir(folder), key=lambda one: one.name)
        if _is_image(entry) and entry.name != scan.name
    ]
    own = stem(scan).lower()
    modality = modality_from_filename(stem(scan))
    entities = split_modality(own)[0] if modality else own
    without = "_".join(one for one in own.split("_") if not one.startswith("desc-"))
    bare = "_".join(one for one in entities.split("_") if not one.startswith("desc-"))
    kinds: list[list[Path]] = [[], [], []]
    for path in others:
        of = not_scans.masked_by(stem(path))
        if of is None:
            continue
        if of.lower() in (own, without):
            kinds[0].append(path)
        elif of and of.lower() == bare:
            kinds[1].append(path)
        elif not of:
            kinds[2].append(path)
    if kinds[2]:
        scans = [path for path in (scan, *others) if modality_from_filename(stem(path))]
        if len({subject_of(path, folder) for path in scans}) > 1:
            kinds[2] = []
    found = next((kind for kind in kinds if kind), [])
    if len(found) > 1:
        problem = f"has two brain masks beside it, {found[0].name} and {found[1].name}"
        raise CaseError(
            explain("-i", scan, problem, "one brain mask, or --mask with the mask to use")
        )
    return found[0] if found else None


def _scan_of_series(series: Series, root: Path, *, explicit: bool) -> FoundScan:
    """A DICOM series as a scan. Its folder below the input is that of its files."""
    path = series.path
    below = path if path.is_dir() else path.parent
    below = below.relative_to(root) if root.is_dir() else Path()
    subject = str(series.header.get("PatientID") or "").strip() or below.as_posix()
    warnings = series.notes
    if explicit and len(series.frames) == 1:
        warnings += ("This file holds one slice. Name its folder if the complete series is meant.",)
    modality = None if series.fault is not None else modality_of(series)
    return FoundScan(path, modality, subject, "", explicit, below, warnings, series)


def _why_not(path: Path, reason: str | None, siblings: frozenset[str]) -> str | None:
    """The reason why a file is not a scan, by its folder and name; None if it may be one."""
    if reason == MADE:
        return reason
    name = stem(path)
    if reason == LABELS or not_scans.is_label_map(name, siblings):
        return LABELS
    return reason or (OTHER if not_scans.other_suffix(name) else None)


def _doubts(path: Path) -> Iterator[str]:
    """Sentences that say what looks wrong about a file that was named."""
    name = stem(path)
    used = "It is used as a scan because it was named."
    if made_by_chiasm(path):
        yield f"This file was made by Chiasm and is not a real scan. {used}"
    if not_scans.is_label_map(name):
        yield f"The name of this file is that of a label map or a mask. {used}"
    elif not_scans.other_suffix(name) or not_scans.is_other_folder(path.absolute().parent.name):
        kind = _other_kind(path.absolute())
        yield (
            "This file is a functional, diffusion, perfusion or field-map image by its name or "
            f"folder ({kind}). {used}"
        )


def _folder_of_subject(path: Path) -> Path:
    """For a file that was named, the folder above its BIDS folders of subject and session."""
    folder = path.absolute().parent
    while folder.name == "anat" or folder.name.startswith(("sub-", "ses-")):
        folder = folder.parent
    return folder if folder != path.absolute().parent else path.parent


def _key(path: Path) -> _Key:
    return str(path.parent.resolve()), path.name


@dataclass(frozen=True)
class _Folder:
    """A folder that was visited, and the reason why its files are left out, if there is one.

    ``files`` are its images by their names, and ``others`` are all other files.
    """

    path: Path
    real: str
    below: Path
    reason: str | None
    files: list[str]
    others: list[str]


def _folders(root: Path, aside: Iterable[str]) -> Iterator[_Folder | OSError]:
    """Visit a folder and all folders below it, each real folder once. Hidden folders are skipped.

    Real folders are visited first, then the targets of links, and last the folders whose files
    are left out. A scan is therefore found by its own path, and a link into ``sourcedata`` still
    leads to scans. Links inside folders that are left out are not followed.

    Parameters
    ----------
    root : Path
    aside : iterable of str
        Names of folders that are left out if they lie directly in a BIDS dataset.
    """
    aside = frozenset(aside)
    start = (str(root), os.path.realpath(root), "", None)
    ways: tuple[deque[tuple[str, str, str, str | None]], ...] = (deque([start]), deque(), deque())
    here, links, left = ways
    seen: set[str] = set()
    while queue := here or links or left:
        spelled, real, below, reason = queue.popleft()
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(spelled) as listing:
                entries = [one for one in listing if not one.name.startswith(".")]
        except OSError as error:
            yield error
            continue
        folders = [one for one in entries if one.is_dir()]
        described = any(one.name == _DESCRIPTION for one in entries)
        if described and reason != MADE and _is_output_dataset(os.path.join(spelled, _DESCRIPTION)):
            reason = MADE
        is_bids = described or any(one.name.startswith("sub-") for one in folders)
        for one in folders:
            linked = one.is_symlink()
            if linked and reason is not None:
                continue
            why = reason or _reason_of_folder(one.name, aside if is_bids else frozenset())
            target = os.path.realpath(one.path) if linked else os.path.join(real, one.name)
            way = left if why else links if linked else here
            way.append((one.path, target, os.path.join(below, one.name), why))
        images = {one.name: _is_image(one) for one in entries if not one.is_dir()}
        files = [name for name, is_image in images.items() if is_image]
        others = [name for name, is_image in images.items() if not is_image]
        if images:
            yield _Folder(Path(spelled), real, Path(below), reason, files, others)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder has the name of an image. Broken links are included."""
    hidden = entry.name.startswith(".")
    if hidden or not entry.name.lower().endswith(endings()):
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _reason_of_folder(name: str, aside: frozenset[str]) -> str | None:
    """The reason why the files of a folder are left out, by the name of the folder."""
    if name in aside:
        return f"{ASIDE}{name}"
    if not_scans.is_other_folder(name):
        return OTHER
    return LABELS if not_scans.is_label_folder(name) else None


def _is_output_dataset(description: str) -> bool:
    """Whether a ``dataset_description.json`` describes derivatives that Chiasm made.

    Phantoms are a raw dataset and do not count.
    """
    try:
        content = json.loads(Path(description).read_text("utf-8-sig"))
    except (OSError, ValueError):
        return False
    if not isinstance(content, dict) or content.get("DatasetType") == "raw":
        return False
    generators = content.get("GeneratedBy", content.get("PipelineDescription"))
    generators = generators if isinstance(generators, list) else [generators]
    return any(
        isinstance(one, dict) and str(one.get("Name", "")).strip().lower().startswith("chiasm")
        for one in generators
    )


def _locations(path: Path) -> set[str]:
    """The real path of a file, and the path of the link itself if it is a link."""
    return {str(path.resolve()), str(path.parent.resolve() / path.name)}


def spare_inputs(
    paths: Iterable[Path],
    inputs: Search | Iterable[Path],
    argument: str = "-o",
) -> None:
    """Refuse outputs that would replace an input.

    Parameters
    ----------
    paths : iterable of Path
        The files to be written, including the report.
    inputs : Search or iterable of Path
        The input files. For a search these are its scans, the files whose content is absent, and
        the files of its folders that were left out, except those that Chiasm made.
    argument : str
        The argument that named the output; an error begins with it.

    Raises
    ------
    UsageError
        An output is one of the inputs, whatever its spelling or link.
    """
    existing = [path for path in paths if os.path.lexists(path)]
    if not existing:
        return
    if isinstance(inputs, Search):
        given = [*(path for scan in inputs.scans for path in scan.files), *inputs.absent]
        beside = [path for files in inputs.left_out.values() for path in files]
    else:
        given, beside = list(inputs), []
    held = set().union(*map(_locations, given))
    held_beside = set().union(*map(_locations, beside))
    for path in existing:
        locations = _locations(path)
        left = locations & held_beside and path.exists() and not made_by_chiasm(path)
        if locations & held or left:
            problem = "is one of the input files"
            raise UsageError(explain(argument, path, problem, "another file or folder"))
