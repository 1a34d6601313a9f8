"""A BIDS folder of digital brains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from chiasm.errors import CaseError, UsageError, explain
from chiasm.phantom.simulation import Settings, Subject, subject

_BIDS_VERSION = "1.10.0"
# Parameter (or the end of its name) → its description, and its units if it has any.
_MEANINGS = {
    "anatomy": ("Label map of the person whose head was deformed", ""),
    "plane": ("Plane of the slices", ""),
    "seed": ("Seed that gives this subject again", ""),
    "size": ("Size relative to the MNI152 template", ""),
    "rotation_deg": ("Rotation about an axis", "deg"),
    "shift_mm": ("Shift along an axis", "mm"),
    "ventricle_growth_mm": ("How far the walls of the ventricles are pushed outwards", "mm"),
    "cortical_thickness_mm": ("Thickness of the cortex", "mm"),
    "sulcal_width_mm": ("Width of the sulci", "mm"),
    "sulcal_depth_mm": ("Depth of the sulci", "mm"),
    "mask_shift_mm": ("How far the brain mask lies outside that of the template", "mm"),
    "volume_ml": ("Volume of the tissue", "mL"),
    "lesion_count": ("Number of white-matter lesions placed", ""),
    "field_strength_t": ("Field strength of the scanner", "T"),
    "csf_inflow": ("How much inflow shortens the T1 of CSF in spin echoes, 0 to 1", ""),
    "pd": ("Proton density of the tissue relative to water", ""),
    "t1_ms": ("Longitudinal relaxation time of the tissue", "ms"),
    "t2_ms": ("Transverse relaxation time of the tissue", "ms"),
    "sequence": ("Pulse sequence", ""),
    "repetition_time_ms": ("Repetition time", "ms"),
    "echo_time_ms": ("Echo time", "ms"),
    "inversion_time_ms": ("Inversion time", "ms"),
    "snr_white": ("Signal of white matter over the standard deviation of the noise", ""),
    "noise_sigma": ("Standard deviation of the noise in each channel", "a.u."),
    "bias_strength": ("Largest deviation of the bias field from 1", ""),
    "slice_thickness_mm": ("Thickness of the acquired slices", "mm"),
    "cnr_csf_grey": ("Contrast-to-noise ratio of CSF and grey matter", ""),
    "cnr_grey_white": ("Contrast-to-noise ratio of grey and white matter", ""),
    "cnr_csf_white": ("Contrast-to-noise ratio of CSF and white matter", ""),
}


def subject_seed(seed: int, number: int) -> int:
    """The seed of subject ``number`` (from 1) of the dataset with seed ``seed``."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0])


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The name and value of each column, e.g. ``T1w_echo_time_ms``, ``size_x``."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}_")
        elif isinstance(value, (list, tuple)):
            yield from ((f"{prefix}{name}_{axis}", v) for axis, v in zip("xyz", value, strict=True))
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return repr(value) if isinstance(value, float) else str(value)


def _sidecar(columns: list[str]) -> str:
    """The JSON file that describes the columns of the table."""
    described: dict[str, Any] = {"participant_id": {"Description": "Name of the subject's folder"}}
    for column in columns:
        stem = column[:-2] if column.endswith(("_x", "_y", "_z")) else column
        key = max((key for key in _MEANINGS if stem.endswith(key)), key=len)
        meaning, units = _MEANINGS[key]
        about = column[: len(stem) - len(key)].strip("_")
        text = f"{meaning} ({about})" if about else meaning
        described[column] = {"Description": text} | ({"Units": units} if units else {})
    return json.dumps(described, indent=2) + "\n"


def write_dataset(
    directory: str | Path,
    subjects: int,
    seed: int,
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Simulate subjects and write them as a BIDS dataset.

    Each subject has an image for each modality (``sub-01/anat/sub-01_T1w.nii.gz`` and so on), a
    label map (``_dseg.nii.gz``) and a table of label names. ``participants.tsv`` lists the random
    parameters (`chiasm.phantom.Subject.parameters`) and ``participants.json`` describes its
    columns. ``dataset_description.json`` describes the dataset.

    Parameters
    ----------
    directory : str or Path
        It is created if it does not exist.
    subjects : int
        Number of subjects, at least 1. A larger dataset begins with the subjects of a smaller one.
    seed : int
        Seed of the dataset, at least 0. The same arguments give the same bytes.
    settings : Settings, optional
    overwrite : bool
        Whether existing files may be replaced.
    progress : callable, optional
        Called with 1 after each subject.

    Returns
    -------
    list of Path
        The subjects' folders.

    Raises
    ------
    UsageError
        The number of subjects is less than 1, or the seed is negative.
    CaseError
        An output exists, the folder holds files of other subjects, or a label map cannot be used.
        All of these are checked before anything is written. Or an output cannot be written.
    """
    from chiasm.files import check_output, write, write_text

    if subjects < 1:
        problem = "is less than 1"
        raise UsageError(explain("--subjects", subjects, problem, "a whole number of at least 1"))
    if seed < 0:
        raise UsageError(explain("--seed", seed, "is negative", "a whole number of at least 0"))
    settings = settings or Settings()
    directory = Path(directory)
    digits = max(2, len(str(subjects)))
    names = [f"sub-{number:0{digits}d}" for number in range(1, subjects + 1)]
    suffixes = (*(f"{name}.nii.gz" for name in settings.modalities), "dseg.nii.gz", "dseg.tsv")
    top = [
        directory / name
        for name in ("dataset_description.json", "participants.tsv", "participants.json")
    ]
    images = [directory / name / "anat" / f"{name}_{end}" for name in names for end in suffixes]
    planned = {*top, *images}
    for path in sorted(planned):
        check_output(path, overwrite)
    for path in sorted(directory.glob("sub-*/**/*")):
        if path.is_file() and path not in planned:
            problem = f"holds {path.relative_to(directory)}, which is not part of the new dataset"
            raise CaseError(explain("-o", directory, problem, "an empty or a new folder"))

    make: Callable[[int], Subject] = partial(subject, settings=settings)
    references = ["Fonov et al., NeuroImage 2011, 54:313 (ICBM 2009 templates)"]
    if settings.anatomies is not None:
        from chiasm.phantom.head_subject import head_subject, label_map_of, label_maps
        from chiasm.phantom.heads import read_label_map

        paths = label_maps(settings.anatomies)
        seeds = [subject_seed(seed, number) for number in range(1, subjects + 1)]
        for used in dict.fromkeys(label_map_of(one, paths) for one in seeds):
            read_label_map(used)
        make = partial(head_subject, settings=settings, paths=paths)
        references = [f"The label maps of {settings.anatomies.name}"]
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(names, start=1):
        simulated = make(subject_seed(seed, number))
        folder = directory / name / "anat"
        for modality, volume in simulated.volumes.items():
            path = folder / f"{name}_{modality}.nii.gz"
            write(volume, path, overwrite=overwrite, mark="phantom")
        write(simulated.labels, folder / f"{name}_dseg.nii.gz", overwrite=overwrite, mark="phantom")
        rows.append(dict(_flat(simulated.parameters)))
        if progress:
            progress(1)

    columns = list(rows[0])
    table = ["\t".join(("participant_id", *columns))]
    for name, row in zip(names, rows, strict=True):
        table.append("\t".join((name, *(_cell(row[column]) for column in columns))))
    description = {
        "Name": "Digital brains",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "chiasm", "Version": version("chiasm")}],
        "ReferencesAndLinks": references,
    }
    texts = (json.dumps(description, indent=2) + "\n", "\n".join(table) + "\n", _sidecar(columns))
    for path, text in zip(top, texts, strict=True):
        write_text(path, text, overwrite=overwrite)
    return [directory / name for name in names]
