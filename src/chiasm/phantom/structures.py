"""The structures of a head: their labels, tissues, MR properties and CT numbers.

Label maps of heads use FreeSurfer's numbers for the brain, and those of SAMSEG's head atlas (502 to
530) for the rest of the head. SynthSeg's label maps (Billot et al., Medical Image Analysis 2023,
86:102789) are of this kind; 136, 137, 163 and 164 are their numbers of the choroid plexus. Left and
right are one structure, because they look alike.

The MR properties of cortex, white matter, CSF, lesions, muscle, fat and marrow are those of
`chiasm.phantom.contrast`, which names their sources. The others are rounded averages that keep the
published order of the structures:

- T1 and T2 of the deep grey nuclei, which lie between white matter and cortex, and the short T2 of
  the pallidum, which stores iron: Gelman et al., Radiology 1999, 210:759, and MRM 2001, 45:71.
- T2* at 3 T: Peters et al., Magnetic Resonance Imaging 2007, 25:748.
- Blood: Stanisz et al., MRM 2005, 54:507.
- CT numbers of the brain: Kamalian et al., Handbook of Clinical Neurology 2016, 135:3.

`t1_intensity` is the mean intensity in a T1-weighted scan on FreeSurfer's scale, where white matter
is 110 (Fischl et al., Neuron 2002, 33:341). It defines the T1 contrast that translators learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.phantom.contrast import PROPERTIES, Tissue

# White matter on FreeSurfer's scale of T1-weighted intensities, and the top of the range that a
# translation uses. Only fat is brighter.
T1_TOP = 125.0


@dataclass(frozen=True)
class Structure:
    """One structure of the head.

    Attributes
    ----------
    name : str
    labels : tuple of int
        Its values in a label map. A structure without labels is made by
        `chiasm.phantom.heads`.
    tissue : {"air", "csf", "grey", "white", "lesion", "head"}
        The tissue class. The brain is CSF, grey matter, white matter and lesions.
    t1_intensity : float
        Mean T1-weighted intensity, where white matter is 110.
    hounsfield : float
        Mean CT number in HU.
    t2_star : float
        T2* at 3 T, in ms.
    properties : tuple of two `Tissue`
        At 1.5 T and at 3 T.
    enhances : float
        How much a contrast agent shortens T1: the share of the T1 that is lost, 0 to 1.
    """

    name: str
    labels: tuple[int, ...]
    tissue: str
    t1_intensity: float
    hounsfield: float
    t2_star: float
    properties: tuple[Tissue, Tissue]
    enhances: float = 0.0


def _known(name: str) -> tuple[Tissue, Tissue]:
    return PROPERTIES[1.5][name], PROPERTIES[3.0][name]


def _own(pd: float, t1: tuple[float, float], t2: tuple[float, float]) -> tuple[Tissue, Tissue]:
    return Tissue(pd, t1[0], t2[0]), Tissue(pd, t1[1], t2[1])


_BLOOD = _own(0.85, (1440, 1930), (250, 200))

# The position in this list is the value in the maps that `chiasm.phantom.heads` makes.
STRUCTURES: tuple[Structure, ...] = (
    Structure("air", (0,), "air", 0, -1000, 1, _own(0.0, (1000, 1000), (50, 50))),
    Structure(
        "ventricles",
        (4, 5, 14, 15, 43, 44, 72),
        "csf",
        24,
        6,
        1000,
        _known("csf"),
    ),
    Structure("csf", (24,), "csf", 28, 9, 1000, _known("csf")),
    Structure(
        "choroid plexus",
        (31, 63, 136, 137, 163, 164),
        "csf",
        45,
        40,
        60,
        _own(0.9, (1600, 1800), (150, 150)),
        0.7,
    ),
    Structure("cortex", (3, 42), "grey", 72, 38, 66, _known("grey")),
    Structure(
        "cerebellar cortex", (8, 47), "grey", 76, 38, 64, _own(0.83, (1130, 1290), (82, 104))
    ),
    Structure("hippocampus", (17, 53), "grey", 74, 36, 60, _own(0.83, (1160, 1310), (87, 108))),
    Structure("amygdala", (18, 54), "grey", 71, 36, 62, _own(0.84, (1180, 1330), (88, 108))),
    Structure("caudate", (11, 50), "grey", 81, 37, 41, _own(0.82, (1050, 1230), (78, 88))),
    Structure("accumbens", (26, 58), "grey", 79, 37, 46, _own(0.83, (1080, 1250), (80, 93))),
    Structure("putamen", (12, 51), "grey", 87, 37, 32, _own(0.81, (970, 1140), (72, 77))),
    Structure("pallidum", (13, 52), "grey", 100, 35, 21, _own(0.74, (760, 930), (60, 56))),
    Structure("thalamus", (10, 49), "grey", 94, 34, 45, _own(0.76, (830, 1020), (74, 79))),
    Structure(
        "white matter",
        (2, 41, 251, 252, 253, 254, 255),  # the last five are parts of the corpus callosum
        "white",
        110,
        29,
        53,
        _known("white"),
    ),
    Structure(
        "cerebellar white matter", (7, 46), "white", 105, 30, 53, _own(0.7, (680, 860), (72, 80))
    ),
    Structure(
        "ventral diencephalon", (28, 60), "white", 97, 32, 40, _own(0.72, (720, 910), (67, 69))
    ),
    Structure("brainstem", (16,), "white", 99, 31, 50, _own(0.72, (740, 930), (74, 80))),
    Structure("optic chiasm", (85,), "white", 88, 32, 50, _own(0.72, (720, 900), (75, 80))),
    Structure("white-matter lesion", (25, 57, 77, 78, 79), "lesion", 80, 23, 70, _known("lesion")),
    Structure("oedema", (), "lesion", 78, 24, 75, _own(0.85, (1150, 1350), (120, 140))),
    Structure("tumour", (), "lesion", 66, 38, 60, _own(0.86, (1350, 1550), (110, 130)), 0.6),
    Structure("necrosis", (), "lesion", 34, 16, 150, _own(0.95, (2400, 2700), (400, 400)), 0.1),
    Structure("vessel", (30, 62), "csf", 60, 45, 40, _BLOOD, 0.8),
    Structure("artery", (502,), "head", 85, 48, 60, _BLOOD, 0.8),
    Structure("vein", (514,), "head", 50, 52, 30, _BLOOD, 0.8),
    Structure("eye", (506, 259), "head", 28, 8, 500, _own(0.98, (3900, 3900), (900, 900))),
    Structure("eye muscle", (508,), "head", 66, 55, 28, _known("muscle"), 0.3),
    Structure("optic nerve", (530,), "head", 85, 32, 50, _own(0.72, (720, 900), (75, 80))),
    Structure("spinal cord", (512,), "head", 97, 33, 50, _own(0.73, (760, 960), (75, 80))),
    Structure("muscle", (), "head", 62, 58, 28, _known("muscle"), 0.1),
    Structure("fat", (507,), "head", 150, -95, 35, _known("fat")),
    Structure("mucosa", (509,), "head", 82, 40, 30, _own(0.88, (950, 1150), (85, 90)), 0.6),
    Structure("skin", (511, 165, 258), "head", 85, 40, 20, _own(0.75, (800, 1000), (42, 42)), 0.2),
    Structure("compact bone", (515,), "head", 14, 900, 1, _own(0.08, (500, 500), (5, 5))),
    Structure("spongy bone", (516,), "head", 95, 300, 10, _known("marrow")),
)

NAMES: tuple[str, ...] = tuple(one.name for one in STRUCTURES)
TISSUE_OF: tuple[str, ...] = tuple(one.tissue for one in STRUCTURES)
# Tissue class → the label of `chiasm.image.volume.TISSUES`; outside the brain it is background.
TISSUE_VALUES = {"air": 0, "csf": 1, "grey": 2, "white": 3, "lesion": 4, "head": 0}
BRAIN_TISSUES = ("csf", "grey", "white", "lesion")


def index_of(name: str) -> int:
    """The value of a structure in the maps of `chiasm.phantom.heads`; `ValueError` if unknown."""
    return NAMES.index(name)


def of_tissue(*tissues: str) -> list[int]:
    """The values of all structures of some tissue classes."""
    return [index for index, tissue in enumerate(TISSUE_OF) if tissue in tissues]


def _table() -> dict[int, int]:
    return {label: i for i, one in enumerate(STRUCTURES) for label in one.labels}


def structures_of(labels: np.ndarray, path: Path | str) -> np.ndarray:
    """Replace the labels of a label map by the values of their structures.

    Parameters
    ----------
    labels : integer array
    path : Path or str
        The file of the label map, for the error.

    Returns
    -------
    uint8 array, same shape
        Positions in `STRUCTURES`.

    Raises
    ------
    CaseError
        A label is not in the table.
    """
    table = _table()
    values = _distinct(labels)
    if unknown := [int(value) for value in values if int(value) not in table]:
        problem = f"has the unknown labels {', '.join(map(str, unknown))}"
        legal = f"FreeSurfer labels of the brain and head: {', '.join(map(str, sorted(table)))}"
        raise CaseError(explain("--anatomies", path, problem, legal))
    first = int(values.min(initial=0))
    found = np.zeros(int(values.max(initial=0)) - first + 1, dtype=np.uint8)
    for value in values:
        found[int(value) - first] = table[int(value)]
    return found[labels if first == 0 else labels - first]


def _distinct(labels: np.ndarray) -> np.ndarray:
    """As `numpy.unique`, which sorts all voxels; the labels of 16 bits are counted instead."""
    first = int(labels.min(initial=0))
    return np.flatnonzero(np.bincount((labels - first).ravel())) + first
