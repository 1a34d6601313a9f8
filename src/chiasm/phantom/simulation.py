"""One simulated subject: its anatomy, and a scan in every requested modality."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from chiasm.errors import UsageError, explain, illegal_setting
from chiasm.image.modality import modality_name
from chiasm.image.volume import LabelVolume, Volume
from chiasm.phantom.appearance import APPEARANCES
from chiasm.phantom.artefacts import bias_field, rician, thick_slices
from chiasm.phantom.contrast import PROPERTIES, SEQUENCES, Biology, PulseSequence

if TYPE_CHECKING:
    from chiasm.phantom.anatomy import Anatomy

_PAIRS = (("csf", "grey"), ("grey", "white"), ("csf", "white"))
_LEGAL = {
    "spacing": "more than 0, up to 8 mm",
    "lesions": "true or false",
    "head": "true or false",
    "tumours": "true or false",
    "resections": "true or false",
    "any_plane": "true or false",
    "artefacts": "true or false",
    "thickness": "two numbers of mm, the first at least 0 and not above the second",
    "modalities": f"one or more of {', '.join(SEQUENCES)}",
    "field_strengths": f"one or more of {', '.join(map(str, PROPERTIES))} (tesla)",
}


class Settings(BaseModel):
    """The settings of simulated subjects.

    Parameters
    ----------
    spacing : float
        Spacing of the isotropic voxels, in mm; more than 0, up to 8.
    lesions : bool
        Whether there are white-matter lesions.
    head : bool
        Whether there are skull, muscle, fat and skin, and noise in the air. Otherwise the images
        are 0 outside the brain.
    modalities : tuple of str
        Names as in `chiasm.image.modality.modality_name`, with a signal equation in `SEQUENCES`.
    field_strengths : tuple of float
        In tesla; each subject is scanned at one of them.
    anatomies : Path or None
        A folder of label maps with FreeSurfer labels. Each subject is then the deformed head of one
        of these people. Otherwise it is a deformed average brain.
    tumours, resections : bool
        Whether there are tumours with oedema, and resection cavities. They need ``anatomies``.
    thickness : tuple of two floats
        Smallest and largest thickness of the slices, in mm.
    any_plane : bool
        Whether slices are axial, coronal or sagittal at random; otherwise they are axial.
    artefacts : bool
        Whether there are ringing and ghosts of motion. ``any_plane`` and ``artefacts`` need
        ``anatomies``.

    Raises
    ------
    UsageError
        A value is not legal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: float = Field(default=1.0, gt=0, le=8, allow_inf_nan=False)
    lesions: bool = False
    head: bool = False
    modalities: tuple[str, ...] = Field(default=("T1w", "PDw", "T2w", "FLAIR"), min_length=1)
    field_strengths: tuple[float, ...] = Field(default=tuple(PROPERTIES), min_length=1)
    anatomies: Path | None = None
    tumours: bool = False
    resections: bool = False
    thickness: tuple[float, float] = (1.0, 4.0)
    any_plane: bool = False
    artefacts: bool = False

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            own = first.get("ctx", {}).get("error")
            if not first["loc"] and isinstance(own, UsageError):
                raise UsageError(str(own)) from None
            name = str(first["loc"][0])
            legal = _LEGAL.get(name, f"one of {', '.join(type(self).model_fields)}")
            argument = f"--{name.replace('_', '-')}"
            problem, _ = illegal_setting(first, type(self))
            raise UsageError(explain(argument, values.get(name), problem, legal)) from None

    @field_validator("modalities")
    @classmethod
    def _with_an_equation(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(modality_name(name, "--modalities") for name in names))

    @field_validator("thickness")
    @classmethod
    def _in_order(cls, range_: tuple[float, float]) -> tuple[float, float]:
        low, high = range_
        if not 0 <= low <= high < float("inf"):
            raise ValueError(f"{low:g} to {high:g} is no range")
        return range_

    @model_validator(mode="after")
    def _fit_the_anatomy(self) -> Settings:
        with_equation = SEQUENCES if self.anatomies is None else APPEARANCES
        for name in self.modalities:
            if name not in with_equation:
                problem = f"{name} has no signal equation for this anatomy"
                legal = f"one or more of {', '.join(with_equation)}"
                raise UsageError(explain("--modalities", name, problem, legal))
        if self.anatomies is not None:
            return self
        for option in ("tumours", "resections", "any_plane", "artefacts"):
            if getattr(self, option):
                flag = f"--{option.replace('_', '-')}"
                raise UsageError(
                    explain(flag, "", "needs the heads of real people", "--anatomies DIR with it")
                )
        return self

    @field_validator("field_strengths")
    @classmethod
    def _with_tissues(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        for strength in strengths:
            if strength not in PROPERTIES:
                raise ValueError(f"no tissue properties are known at {strength:g} T")
        return strengths


@dataclass(frozen=True)
class Subject:
    """One simulated subject.

    Attributes
    ----------
    volumes : dict
        BIDS suffix → `Volume`, all on one grid, in arbitrary units.
    labels : LabelVolume
        The tissue with the largest fraction: 0 background, 1 CSF, 2 grey matter, 3 white matter,
        4 lesion.
    parameters : dict
        The random parameters of the subject and the values that follow from them, in JSON form.
        The name of each modality holds those of its scan.
    """

    volumes: dict[str, Volume]
    labels: LabelVolume
    parameters: dict[str, Any]


def contrast_to_noise(
    image: np.ndarray, labels: np.ndarray, sigma: float
) -> dict[str, float | None]:
    """Contrast-to-noise ratios of CSF, grey and white matter: |mean − other mean| / σ.

    A ratio is None if the labels hold no voxel of one of both tissues.

    Parameters
    ----------
    image, labels : array, same shape
        Labels as in `Subject.labels`.
    sigma : float
        Standard deviation σ of the noise in each channel, in the units of the image.
    """
    values = {"csf": 1, "grey": 2, "white": 3}
    voxels = {name: image[labels == value] for name, value in values.items()}
    means = {name: float(one.mean()) for name, one in voxels.items() if one.size}
    return {
        f"cnr_{a}_{b}": abs(means[a] - means[b]) / sigma if a in means and b in means else None
        for a, b in _PAIRS
    }


def _ideal(anatomy: Anatomy, sequence: PulseSequence, biology: Biology, head: bool) -> np.ndarray:
    """The image without artefacts and noise; 0 to 1, on the box of the anatomy."""
    from chiasm.phantom.anatomy import TISSUES

    tissues = biology.seen_by(sequence)
    signal, texture = (
        np.array([of(tissues[name]) for name in TISSUES], dtype=np.float32)
        for of in (sequence.signal, sequence.sensitivity)
    )
    image = np.tensordot(signal, anatomy.fractions, axes=1)
    image += 0.03 * anatomy.texture * np.tensordot(texture, anatomy.fractions, axes=1)
    if not head:
        # A brain that will be stripped is surrounded by CSF, so that thick slices average over it.
        image += signal[TISSUES.index("csf")] * (1 - anatomy.fractions.sum(0))
    return np.maximum(image, 0)


def _scan(
    anatomy: Anatomy, biology: Biology, settings: Settings, name: str, rng: np.random.Generator
) -> tuple[Volume, dict[str, Any]]:
    """The scan of one modality, and its random parameters."""
    sequence = SEQUENCES[name](rng, biology.tissues["csf"].t1)
    gain = rng.uniform(300, 900) / sequence.signal(biology.tissues["white"])
    snr, bias = rng.uniform(20, 50), rng.uniform(0.05, 0.2)
    thickness, offset = rng.uniform(*settings.thickness), rng.uniform()

    image = gain * _ideal(anatomy, sequence, biology, settings.head)
    image = thick_slices(image, settings.spacing, thickness, offset)
    image *= bias_field(rng, image.shape, bias)
    sigma = gain * sequence.signal(biology.tissues["white"]) / snr
    if settings.head:
        array = rician(anatomy.on_lattice(image), sigma, rng)
    else:
        array = anatomy.on_lattice(rician(image, sigma, rng) * anatomy.mask)
    drawn = {
        "sequence": sequence.name,
        "repetition_time_ms": sequence.tr,
        "echo_time_ms": sequence.te,
        "inversion_time_ms": sequence.ti,
        "snr_white": snr,
        "noise_sigma": sigma,
        "bias_strength": bias,
        "slice_thickness_mm": max(thickness, settings.spacing),
        **contrast_to_noise(array[anatomy.box], anatomy.labels, sigma),
    }
    return Volume(array, anatomy.affine, modality=name), drawn


def subject(seed: int, settings: Settings | None = None) -> Subject:
    """Simulate one subject. The same seed and settings give the same bytes.

    Anatomy, lesions, head, tissues and each modality use separate random streams. Adding or
    removing one does not change the others.

    Parameters
    ----------
    seed : int
        Seed of the subject, at least 0.
    settings : Settings, optional

    Returns
    -------
    Subject

    Raises
    ------
    UsageError
        The seed is negative.
    """
    from chiasm.phantom.anatomy import BRAIN, build_anatomy
    from chiasm.phantom.fields import stream

    if seed < 0:
        raise UsageError(explain("--seed", seed, "is negative", "a whole number of at least 0"))
    settings = settings or Settings()
    anatomy = build_anatomy(seed, settings.spacing, lesions=settings.lesions, head=settings.head)
    biology = Biology.draw(stream(seed, "tissues"), settings.field_strengths)
    scans = {
        name: _scan(anatomy, biology, settings, name, stream(seed, name))
        for name in settings.modalities
    }
    parameters = {
        "seed": seed,
        **asdict(anatomy.build),
        **{f"{name}_volume_ml": volume for name, volume in anatomy.volumes.items()},
        "lesion_count": anatomy.lesion_count,
        "field_strength_t": biology.field_strength,
        "csf_inflow": biology.inflow,
        **{
            f"{name}_{key}": value
            for name in BRAIN
            for key, value in zip(
                ("pd", "t1_ms", "t2_ms"), astuple(biology.tissues[name]), strict=True
            )
        },
        **{name: drawn for name, (_, drawn) in scans.items()},
    }
    return Subject(
        volumes={name: volume for name, (volume, _) in scans.items()},
        labels=LabelVolume(anatomy.on_lattice(anatomy.labels), anatomy.affine),
        parameters=parameters,
    )
