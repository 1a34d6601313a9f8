"""The folders and names of the outputs of every scan, planned before any scan is read."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chiasm.cohort.recipe import LABEL_SUFFIX
from chiasm.errors import UsageError, explain
from chiasm.files import endings, is_written, stem
from chiasm.files.dicom.anonymous import check_installed, short_hash
from chiasm.files.find import FoundScan, Search, spare_inputs
from chiasm.image.modality import modality_from_filename, split_modality

DICOM, NIFTI = FORMS = ("dicom", "nifti")
# The ending of what is made of a scan whose format is not written, such as a DICOM series.
WRITTEN_ENDING = ".nii.gz"
_DESC = re.compile(r"(?:^|_)desc-(?P<label>[^_]*)")


@dataclass(frozen=True)
class Case:
    """One scan and its outputs, in the order of the requested suffixes.

    With ``dicom``, images are folders of files, and label maps are files that end with ``.dcm``.
    With ``sidecars``, a JSON file beside each image says how it was made. With ``anonymous``, the
    headers hold nothing that identifies the person.
    """

    scan: FoundScan
    outputs: tuple[Path, ...]
    dicom: bool = False
    sidecars: bool = False
    anonymous: bool = False

    @property
    def source(self) -> str:
        """What messages and records call the scan."""
        return str(self.scan)


def check_kind_of_output(output: Path, inputs: Sequence[Path], *, folder: bool = False) -> None:
    """Refuse the name of a file as the output if a folder is needed. No scan is read.

    Parameters
    ----------
    output : Path
    inputs : sequence of Path
        The files and folders that were named.
    folder : bool
        Whether the output has to be a folder because each scan has several outputs.

    Raises
    ------
    UsageError
        The output is the name of a file, but there are several outputs or a folder of inputs.
    """
    if not is_file_name(output):
        return
    if not is_written(output):
        legal = f"a name that ends with {WRITTEN_ENDING}"
        raise UsageError(explain("-o", output, "has a format that is only read", legal))
    if folder:
        problem = "names one file"
        raise UsageError(explain("-o", output, problem, "a folder for several outputs of a scan"))
    if any(path.is_dir() for path in inputs):
        raise UsageError(explain("-o", output, "names one file", "a folder for several inputs"))


def plan(
    search: Search,
    output: Path,
    suffixes: Sequence[str],
    *,
    folder: bool = False,
    maps: Sequence[str] = (),
    form: str | None = None,
    derivatives: bool = False,
    anonymous: bool = False,
) -> list[Case]:
    """Plan the cases of a run, in the order in which the scans were found.

    Existing outputs are not refused here. They are an error of their own case, so that the other
    cases are still processed.

    Parameters
    ----------
    search : Search
        The result of `chiasm.files.find.find_scans`.
    output : Path
        A file for one scan that was named itself, otherwise a folder. The folder gets the structure
        of the input folder.
    suffixes : sequence of str
        BIDS suffixes of the outputs. The suffix ``T1w`` turns ``sub-01_PDw.nii.gz`` into
        ``sub-01_T1w.nii.gz``. If several outputs would have the same name, a ``desc`` names their
        source: ``sub-01_desc-fromPDw_T1w.nii.gz``. It is joined to a ``desc`` that the name has
        already: ``sub-01_desc-preprocFromPDw_T1w.nii.gz``.
    folder : bool
        Whether the output has to be a folder because each scan has several outputs.
    maps : sequence of str
        Names of maps that are written for the first output, after the other outputs: "std" gives
        ``sub-01_desc-std_T1w.nii.gz`` (`chiasm.methods.base.Translation`).
    form : {"dicom", "nifti"}, optional
        The format of what is made of DICOM series; by default DICOM. What is made of other scans
        has the format of the scan.
    derivatives : bool
        Whether the output is a derivative dataset of BIDS. The ``desc`` then always names the
        source, and each image has a JSON file beside it.
    anonymous : bool
        Whether names and headers hold nothing that identifies the person. The outputs of a DICOM
        series are then called by its number and a hash, and lie in no folder below the output.

    Raises
    ------
    UsageError
        The output is the name of one file for several scans or outputs; two scans would be written
        to one file; an input would be replaced that Chiasm did not make; or the format is not
        known, or is DICOM for a scan that is no DICOM series; or such a scan is to be anonymous.
    """
    if form not in (None, *FORMS):
        raise UsageError(explain("--format", form, "is not known", ", ".join(FORMS)))
    if anonymous:
        check_installed()
        for scan in search.scans:
            if scan.series is None:
                problem = f"does not fit {scan.path}, which is no DICOM series"
                raise UsageError(explain("--anonymize", "", problem, "DICOM series alone"))
    check_kind_of_output(output, search.inputs, folder=folder)
    to_file = is_file_name(output)
    if to_file and len(search.scans) + len(search.errors) > 1:
        raise UsageError(explain("-o", output, "names one file", "a folder for several inputs"))
    if to_file:
        if form == DICOM:
            problem = "names a file that is not DICOM"
            raise UsageError(explain("-o", output, problem, "a folder, or no --format dicom"))
        single = (output, *(map_beside(output, name) for name in maps))
        cases = [Case(scan, single) for scan in search.scans]
    else:
        cases = _named(search.scans, output, suffixes, maps, form, derivatives, anonymous)
    spare_inputs((path for case in cases for path in case.outputs), search)
    return cases


def _place(scan: FoundScan, anonymous: bool) -> tuple[Path, str]:
    """The folder below the output, and how the names begin."""
    if not anonymous or scan.series is None:
        return scan.below, _entities(scan)
    number = scan.series.header.get("SeriesNumber")
    digits = "" if number is None else f"{int(number):03d}-"
    return Path(), f"{digits}{short_hash(f'{scan.series.uid} {scan.series.part}')}"


def _named(
    scans: Sequence[FoundScan],
    output: Path,
    suffixes: Sequence[str],
    maps: Sequence[str],
    form: str | None,
    derivatives: bool,
    anonymous: bool,
) -> list[Case]:
    """The cases with outputs in a folder. All names are different."""
    names = Counter((*_place(scan, anonymous), _ending_for(scan)) for scan in scans)
    cases: dict[tuple[Path, ...], Case] = {}
    for scan in scans:
        (below, entities), ending = _place(scan, anonymous), _ending_for(scan)
        if derivatives or names[below, entities, ending] > 1:
            entities = with_desc(entities, f"from {scan.modality or scan.name}")
        dicom = scan.series is not None and form != NIFTI
        if form == DICOM and not dicom:
            problem = f"does not fit {scan.path}, which is no DICOM series"
            raise UsageError(explain("--format", form, problem, "DICOM series alone, or nifti"))
        endings_of = [ending] * len(suffixes)
        if dicom:  # a folder for an image, and a file for a label map
            endings_of = [".dcm" if suffix == LABEL_SUFFIX else "" for suffix in suffixes]
        outputs = tuple(
            output / below / f"{entities}_{suffix}{its_ending}"
            for suffix, its_ending in zip(suffixes, endings_of, strict=True)
        )
        outputs += tuple(map_beside(outputs[0], name) for name in maps)
        if outputs in cases:
            problem = f"would hold the results of both {cases[outputs].source} and {scan}"
            raise UsageError(explain("-o", outputs[0], problem, "inputs with different names"))
        cases[outputs] = Case(scan, outputs, dicom, derivatives and not dicom, anonymous)
    return list(cases.values())


def with_desc(entities: str, words: str) -> str:
    """Add words to the BIDS entity ``desc`` of a name. A name has one ``desc``, which comes last.

    The words are joined in camel case. Only letters and digits are kept, as BIDS demands.

    >>> with_desc("sub-01", "from PDw")
    'sub-01_desc-fromPDw'
    >>> with_desc("sub-01_desc-preproc", "from PDw")
    'sub-01_desc-preprocFromPDw'
    """
    labels = [found["label"] for found in _DESC.finditer(entities)]
    rest = _DESC.sub("", entities).removeprefix("_")
    label = _camel([*labels, *words.split(" ")])
    return "_".join(filter(None, (rest, f"desc-{label}")))


def _camel(words: Sequence[str]) -> str:
    """Join words in camel case. Accents and all but letters and digits are removed."""
    plain = (unicodedata.normalize("NFKD", word).encode("ascii", "ignore") for word in words)
    parts = [part for word in plain for part in re.findall(r"[A-Za-z0-9]+", word.decode())]
    return "".join(parts[:1] + [part[0].upper() + part[1:] for part in parts[1:]])


def map_beside(image: Path, kind: str) -> Path:
    """The file of a map of an image: "std" gives ``sub-01_desc-std_T1w.nii.gz``."""
    name, ending = stem(image), _ending(image)
    entities, suffix = _split(name)
    parts = filter(None, (with_desc(entities, kind), suffix))
    return image.with_name(f"{'_'.join(parts)}{ending}")


def is_file_name(path: Path) -> bool:
    """Whether an output has the name of a file, and not that of a folder."""
    return not path.is_dir() and path.name.lower().endswith(endings())


def _entities(scan: FoundScan) -> str:
    """A scan's name without modality and ending."""
    return _split(scan.name)[0]


def _ending_for(scan: FoundScan) -> str:
    """The ending of a scan's outputs: that of its file, or NIfTI if its format is not written."""
    if scan.series is not None or not is_written(scan.path):
        return WRITTEN_ENDING
    return _ending(scan.path)


def _split(name: str) -> tuple[str, str]:
    """The part of a name before its modality, and the modality, which may be empty.

    A name that is only a modality (``T1w``) is returned whole, with an empty modality.
    """
    if modality_from_filename(name) is None:
        return name, ""
    entities, suffix = split_modality(name)
    return (entities, suffix) if entities else (name, "")


def _ending(image: Path) -> str:
    return image.name[len(stem(image)) :]
