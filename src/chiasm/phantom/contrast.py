"""Contrast of the digital brain: tissue properties, MR signal equations, clinical sequences.

The sources of the relaxation times (in ms) and proton densities (relative to water) are:

- Grey and white matter at 1.5 T: T1 1197 and 646 (Wright et al., MAGMA 2008, 21:121); T2 83 and 70
  (the BrainWeb phantom, Kwan et al., IEEE TMI 1999, 18:1085).
- Grey and white matter at 3 T: T1 1331 and 832, T2 110 and 79.6 (Wansapura et al., JMRI 1999,
  9:531).
- Proton density of grey and white matter: water contents of 83.7 % and 69.1 % (Oros-Peusquens et
  al., Front. Neurol. 2019, 10:1333).
- CSF: T1 about 4.3 s at any field (Rooney et al., MRM 2007, 57:308), T2 about 2 s. In multi-slice
  spin echoes fresh CSF flows in and its apparent T1 is shorter, down to BrainWeb's 2569 ms.
- White-matter lesions vary widely. The simulated ones have slightly more water and a longer T1
  than grey matter, and a T2 between those of grey matter and of BrainWeb's lesion (237).
- Muscle: T1 1008 and 1412, T2 44 and 50 at 1.5 and 3 T (Stanisz et al., MRM 2005, 54:507).
- Subcutaneous fat: T1 343 and 382, T2 58 and 68; marrow: T1 549 and 586, T2 49 (de Bazelaire et
  al., Radiology 2004, 230:652).
- Cortical bone has almost no signal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """Proton density relative to water; T1 and T2 in ms."""

    pd: float
    t1: float
    t2: float


Tissues = Mapping[str, Tissue]

# Field strength in tesla → tissue → properties. The docstring of this module names the sources.
PROPERTIES: Mapping[float, Tissues] = {
    1.5: {
        "csf": Tissue(1.0, 4300, 2000),
        "grey": Tissue(0.837, 1197, 83),
        "white": Tissue(0.691, 646, 70),
        "lesion": Tissue(0.87, 1300, 135),
        "skull": Tissue(0.05, 500, 20),
        "marrow": Tissue(0.5, 549, 49),
        "muscle": Tissue(0.79, 1008, 44),
        "fat": Tissue(0.9, 343, 58),
    },
    3.0: {
        "csf": Tissue(1.0, 4300, 2000),
        "grey": Tissue(0.837, 1331, 110),
        "white": Tissue(0.691, 832, 79.6),
        "lesion": Tissue(0.87, 1450, 155),
        "skull": Tissue(0.05, 500, 20),
        "marrow": Tissue(0.5, 586, 49),
        "muscle": Tissue(0.79, 1412, 50),
        "fat": Tissue(0.9, 382, 68),
    },
}
_CSF_T1_FULL_INFLOW = 2569.0


def spin_echo(tissue: Tissue, tr: float, te: float) -> float:
    """Spin-echo signal, PD · (1 − exp(−TR/T1)) · exp(−TE/T2).

    Parameters
    ----------
    tissue : Tissue
    tr, te : float
        Repetition and echo time in ms.

    Returns
    -------
    float
        0 to 1, relative to fully relaxed water.
    """
    return float(tissue.pd * -np.expm1(-tr / tissue.t1) * np.exp(-te / tissue.t2))


def inversion_recovery(tissue: Tissue, tr: float, te: float, ti: float) -> float:
    """Magnitude after an inversion, PD · |1 − 2 exp(−TI/T1) + exp(−TR/T1)| · exp(−TE/T2).

    Parameters
    ----------
    tissue : Tissue
    tr, te, ti : float
        Repetition, echo and inversion time in ms.

    Returns
    -------
    float
        0 to 1, relative to fully relaxed water.
    """
    recovered = abs(1 - 2 * np.exp(-ti / tissue.t1) + np.exp(-tr / tissue.t1))
    return float(tissue.pd * recovered * np.exp(-te / tissue.t2))


def null_time(t1: float, tr: float) -> float:
    """The inversion time at which a tissue gives no signal, T1 · ln(2 / (1 + exp(−TR/T1)))."""
    return float(t1 * np.log(2 / (1 + np.exp(-tr / t1))))


@dataclass(frozen=True)
class PulseSequence:
    """A pulse sequence and its timing in ms. A spin echo without inversion has no ``ti``."""

    name: str
    tr: float
    te: float
    ti: float | None = None

    def signal(self, tissue: Tissue) -> float:
        """The signal of a tissue, 0 to 1."""
        if self.ti is None:
            return spin_echo(tissue, self.tr, self.te)
        return inversion_recovery(tissue, self.tr, self.te, self.ti)

    def sensitivity(self, tissue: Tissue) -> float:
        """Change of the signal per relative change of both T1 and T2: ∂S / ∂ ln T."""
        step = 0.01
        longer, shorter = (
            replace(tissue, t1=tissue.t1 * f, t2=tissue.t2 * f) for f in (1 + step, 1 - step)
        )
        return (self.signal(longer) - self.signal(shorter)) / (2 * step)


def _t1w(rng: np.random.Generator, csf_t1: float) -> PulseSequence:
    if rng.random() < 0.5:
        return PulseSequence("spin echo", rng.uniform(400, 700), rng.uniform(8, 20))
    times = rng.uniform(1900, 2500), rng.uniform(2, 5), rng.uniform(900, 1100)
    return PulseSequence("magnetisation-prepared gradient echo", *times)


def _t2w(rng: np.random.Generator, csf_t1: float) -> PulseSequence:
    return PulseSequence("spin echo", rng.uniform(3000, 6000), rng.uniform(80, 120))


def _pdw(rng: np.random.Generator, csf_t1: float) -> PulseSequence:
    return PulseSequence("spin echo", rng.uniform(2000, 4000), rng.uniform(8, 30))


def _flair(rng: np.random.Generator, csf_t1: float) -> PulseSequence:
    tr, te = rng.uniform(6000, 11000), rng.uniform(90, 140)
    ti = null_time(csf_t1, tr) * rng.uniform(0.96, 1.04)
    return PulseSequence("inversion recovery spin echo", tr, te, ti)


# BIDS suffix → function that draws a sequence from clinical ranges, given the T1 of CSF.
SEQUENCES: Mapping[str, Callable[[np.random.Generator, float], PulseSequence]] = {
    "T1w": _t1w,
    "PDw": _pdw,
    "T2w": _t2w,
    "FLAIR": _flair,
}


@dataclass(frozen=True)
class Biology:
    """The tissues of one subject at one field strength.

    Attributes
    ----------
    field_strength : float
        In tesla.
    tissues : mapping
        Name → properties.
    inflow : float
        How much inflow shortens the apparent T1 of CSF in a spin echo, 0 to 1.
    """

    field_strength: float
    tissues: Tissues
    inflow: float

    @classmethod
    def draw(cls, rng: np.random.Generator, field_strengths: tuple[float, ...]) -> Biology:
        """Draw relaxation times within 5 % of the published ones, proton density within 1.5 %."""
        field = float(rng.choice(field_strengths))
        tissues = {}
        for name, tissue in PROPERTIES[field].items():
            pd, t1, t2 = (1 + rng.uniform(-1, 1, 3) * (0.015, 0.05, 0.05)).tolist()
            tissues[name] = Tissue(tissue.pd * pd, tissue.t1 * t1, tissue.t2 * t2)
        return cls(field, tissues, float(rng.uniform()))

    def seen_by(self, sequence: PulseSequence) -> Tissues:
        """The tissues as a sequence measures them; in a spin echo, inflow changes CSF's T1."""
        if sequence.ti is not None:
            return self.tissues
        csf = self.tissues["csf"]
        t1 = csf.t1 + self.inflow * (_CSF_T1_FULL_INFLOW - csf.t1)
        return {**self.tissues, "csf": replace(csf, t1=t1)}
