"""How the structures of a head look in each modality: their mean intensities.

MR intensities follow the signal equations of `chiasm.phantom.contrast`, with sequences from
clinical ranges, and CT numbers follow the table of `chiasm.phantom.structures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from chiasm.phantom.contrast import PROPERTIES, SEQUENCES, PulseSequence, Tissue
from chiasm.phantom.structures import NAMES, STRUCTURES, T1_TOP, of_tissue

# Draws the mean signals of one random scan of a subject.
Appearance: TypeAlias = "Callable[[np.random.Generator, Properties], np.ndarray]"

_HIGH_FIELD = 3.0  # tesla
# T2* at 1.5 T relative to 3 T (Peters et al., 2007).
_T2_STAR_AT_LOW_FIELD = 1.3
_VESSELS = [NAMES.index(name) for name in ("vessel", "artery", "vein")]
_FATTY = [NAMES.index(name) for name in ("fat", "spongy bone")]
_CSF = [NAMES.index(name) for name in ("ventricles", "csf", "eye")]
# Standard deviation of a structure's CT number between subjects and scanners, in HU.
_HOUNSFIELD_SPREAD = 2.5


def canonical_t1() -> np.ndarray:
    """The T1 contrast that translators learn, in [0, 1] for all but fat: (structures,)."""
    means = np.array([one.t1_intensity for one in STRUCTURES], dtype=np.float32)
    return np.minimum(means / np.float32(T1_TOP), 1)


@dataclass(frozen=True)
class Properties:
    """The properties of all structures in one subject at one field strength.

    Attributes
    ----------
    field_strength : float
        In tesla.
    tissues : tuple of Tissue
        In the order of `chiasm.phantom.structures.STRUCTURES`.
    t2_star : tuple of float
        In ms, in the same order.
    """

    field_strength: float
    tissues: tuple[Tissue, ...]
    t2_star: tuple[float, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, field_strengths: tuple[float, ...]) -> Properties:
        """Draw properties near the published ones: PD within 3 %, T1 and T2 within 16 %."""
        field = float(rng.choice(field_strengths))
        each = rng.uniform(-1, 1, (len(STRUCTURES), 4)) * (0.03, 0.08, 0.08, 0.15) + 1
        common = rng.uniform(-1, 1, 4) * (0, 0.08, 0.08, 0.1) + 1
        factors = each * common
        high = field == _HIGH_FIELD
        tissues = tuple(
            Tissue(own.pd * pd, own.t1 * t1, own.t2 * t2)
            for own, (pd, t1, t2, _) in zip(
                (one.properties[high] for one in STRUCTURES), factors, strict=True
            )
        )
        star = np.array([one.t2_star for one in STRUCTURES]) * factors[:, 3]
        star = star if high else star * _T2_STAR_AT_LOW_FIELD
        return cls(field, tissues, tuple(star.tolist()))


def signals(
    rng: np.random.Generator, modality: str, properties: Properties | None = None
) -> np.ndarray:
    """Mean signal of each structure in one random scan of a modality.

    Parameters
    ----------
    rng : Generator
    modality : str
        One of `APPEARANCES`.
    properties : Properties, optional
        Those of the subject; by default they are drawn.

    Returns
    -------
    float32 array, shape (structures,)
        Relative to fully relaxed water, or in HU for CT.
    """
    own = properties or Properties.draw(rng, tuple(PROPERTIES))
    return APPEARANCES[modality](rng, own).astype(np.float32)


def _scanned(
    rng: np.random.Generator, tissues: Sequence[Tissue], signal: Callable[[Tissue], float]
) -> np.ndarray:
    """The signals, with the flow in vessels and the behaviour of fat that no equation here has."""
    values = np.array([signal(tissue) for tissue in tissues])
    # Flowing blood gives no signal in spin echoes, and much in gradient echoes with inflow.
    values[_VESSELS] *= rng.choice([rng.uniform(0, 0.4), rng.uniform(0.7, 2.5)])
    if rng.random() < 0.25:  # fat suppression
        values[_FATTY] *= rng.uniform(0.05, 0.4)
    elif rng.random() < 0.6:  # refocusing pulses close together make fat brighter
        values[_FATTY] *= rng.uniform(1, 2)
    # Structures of one kind differ between subjects by more than their relaxation times tell.
    return np.maximum(values * rng.normal(1, 0.02, len(values)), 0)


def _by_sequence(name: str) -> Appearance:
    def scan(rng: np.random.Generator, own: Properties) -> np.ndarray:
        sequence = SEQUENCES[name](rng, own.tissues[_CSF[0]].t1)
        return _scanned(rng, _with_inflow(rng, own.tissues, sequence), sequence.signal)

    return scan


def _with_inflow(
    rng: np.random.Generator, tissues: Sequence[Tissue], sequence: PulseSequence
) -> Sequence[Tissue]:
    """Fresh CSF that flows in shortens its apparent T1 in a spin echo."""
    if sequence.ti is not None:
        return tissues
    shorter = 1 - 0.4 * rng.random()
    return [
        replace(one, t1=one.t1 * shorter) if index in _CSF else one
        for index, one in enumerate(tissues)
    ]


def _with_agent(rng: np.random.Generator, own: Properties) -> np.ndarray:
    dose = rng.uniform(0.6, 1)
    tissues = [
        replace(one, t1=one.t1 * (1 - dose * structure.enhances))
        for one, structure in zip(own.tissues, STRUCTURES, strict=True)
    ]
    sequence = SEQUENCES["T1w"](rng, tissues[_CSF[0]].t1)
    return _scanned(rng, tissues, sequence.signal)


def gradient_echo(tissue: Tissue, t2_star: float, tr: float, te: float, flip_deg: float) -> float:
    """Spoiled gradient echo, PD · sin α (1 − E1) / (1 − E1 cos α) · exp(−TE/T2*), E1 = exp(−TR/T1).

    Parameters
    ----------
    tissue : Tissue
    t2_star, tr, te : float
        In ms.
    flip_deg : float
        Flip angle α in degrees.
    """
    e1, angle = np.exp(-tr / tissue.t1), np.deg2rad(flip_deg)
    steady = np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    return float(tissue.pd * steady * np.exp(-te / t2_star))


def _t2_star(rng: np.random.Generator, own: Properties) -> np.ndarray:
    tr, te, flip = rng.uniform(400, 1000), rng.uniform(12, 35), rng.uniform(15, 40)
    values = iter(own.t2_star)
    return _scanned(rng, own.tissues, lambda one: gradient_echo(one, next(values), tr, te, flip))


def _ct(rng: np.random.Generator, own: Properties) -> np.ndarray:
    means = np.array([one.hounsfield for one in STRUCTURES], dtype=float)
    # The scanner's energy scales all differences from water; bone differs most between people.
    spread = np.where(np.abs(means) > 150, 0.2 * np.abs(means), _HOUNSFIELD_SPREAD)
    values = means * rng.uniform(0.92, 1.08) + rng.normal(0, 1, len(means)) * spread
    values[0] = means[0]  # every scanner is calibrated so that air has −1000 HU
    return values


# Name as in `chiasm.image.modality` → the mean signals of one random scan.
APPEARANCES: Mapping[str, Appearance] = {
    **{name: _by_sequence(name) for name in SEQUENCES},
    "T1ce": _with_agent,
    "T2starw": _t2_star,
    "CT": _ct,
}

# Modality → the means that all images of a target have if they are not varied.
CANONICAL: Mapping[str, Callable[[], np.ndarray]] = {"T1w": canonical_t1}

BRAIN = np.isin(np.arange(len(STRUCTURES)), of_tissue("csf", "grey", "white", "lesion"))
