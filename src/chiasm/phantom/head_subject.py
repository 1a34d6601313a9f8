"""One simulated subject whose anatomy is the deformed head of a real person.

The anatomy comes from a label map (`chiasm.phantom.heads`), the contrast from the signal equations
of each structure (`chiasm.phantom.appearance`), and the scans have the slices, the bias field and
the noise of a scanner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chiasm.errors import CaseError, UsageError, explain
from chiasm.image.intensity import policy_for
from chiasm.image.volume import LabelVolume, Volume
from chiasm.phantom.appearance import Properties, signals
from chiasm.phantom.artefacts import bias_field, motion, rician, ringing, thick_slices
from chiasm.phantom.fields import stream
from chiasm.phantom.heads import Draw, Head, HeadSettings, LabelMap, draw_head, read_label_map
from chiasm.phantom.simulation import Settings, Subject, contrast_to_noise
from chiasm.phantom.structures import TISSUE_OF, TISSUE_VALUES

# The box of a head is this much larger than that of its label map, so that large heads fit in.
_MARGIN = 1.35
_RIM = 8.0  # mm of air around the head
_FINEST = 1.0  # mm; coarser voxels are means of voxels of at most this size
_PLANES = ("sagittal", "coronal", "axial")  # in the order of the axes along which they are stacked
_GRAIN = 4.0  # mm; width of the texture's grains
_TEXTURE = 0.02  # standard deviation inside a structure, as a share of the mean signal of all


def label_maps(folder: Path, argument: str = "--anatomies") -> list[Path]:
    """The files of the label maps in a folder, sorted by name.

    Raises
    ------
    CaseError
        The folder is not there, or holds no image file.
    """
    from chiasm import files

    endings = tuple(files.endings())
    found = sorted(path for path in Path(folder).rglob("*") if path.name.endswith(endings))
    if not found:
        legal = "a folder of label maps with FreeSurfer labels"
        raise CaseError(explain(argument, folder, "holds no label map", legal))
    return found


def label_map_of(seed: int, paths: list[Path]) -> Path:
    """The label map from which the head of a subject of this seed is drawn."""
    return paths[int(stream(seed, "label map").integers(len(paths)))]


def head_subject(seed: int, settings: Settings, paths: list[Path]) -> Subject:
    """Simulate one subject from a random label map. The same arguments give the same images.

    Parameters
    ----------
    seed : int
        Seed of the subject, at least 0.
    settings : Settings
    paths : list of Path
        Label maps with FreeSurfer labels.

    Raises
    ------
    CaseError
        A label map cannot be read, or holds an unknown label.
    UsageError
        The seed is negative.
    """
    if seed < 0:
        raise UsageError(explain("--seed", seed, "is negative", "a whole number of at least 0"))
    path = label_map_of(seed, paths)
    label_map = read_label_map(path)
    lattice = _Lattice.around(label_map, settings.spacing)
    generator = torch.Generator().manual_seed(int(stream(seed, "head").integers(2**62)))
    head = draw_head(
        label_map, lattice.fine, settings.spacing / lattice.factor,
        _head_settings(settings), generator, centred=True,
    )  # fmt: skip
    head, lattice = lattice.cropped(head)
    properties = Properties.draw(stream(seed, "tissues"), settings.field_strengths)
    brain = lattice.mean(head.brain.numpy().astype(np.float32)) > 0.5
    labels = _labels(head, lattice) * brain
    parameters: dict[str, Any] = {
        "seed": seed,
        "anatomy": path.name,
        "field_strength_t": properties.field_strength,
    }
    volumes = {}
    for name in settings.modalities:
        made = _scan(head, lattice, brain, properties, settings, name, stream(seed, name))
        volumes[name] = Volume(made.array, lattice.affine, modality=name, units=made.units)
        parameters[name] = made.drawn | contrast_to_noise(made.array, labels, made.sigma)
    return Subject(volumes, LabelVolume(labels, lattice.affine), parameters)


def _head_settings(settings: Settings) -> HeadSettings:
    """Only the disease that was asked for. The whole head is drawn, and is stripped later."""
    return HeadSettings(
        lesions=float(settings.lesions),
        tumour=float(settings.tumours),
        resection=float(settings.resections),
    )


@dataclass(frozen=True)
class _Lattice:
    """The output lattice, and the finer one on which the structures are drawn."""

    shape: tuple[int, int, int]
    spacing: float
    factor: int

    @classmethod
    def around(cls, label_map: LabelMap, spacing: float) -> _Lattice:
        extent = np.multiply(label_map.structures.shape, label_map.spacing) * _MARGIN
        shape = tuple(int(n) for n in np.ceil(extent / spacing))
        return cls(shape, spacing, math.ceil(spacing / _FINEST))  # type: ignore[arg-type]

    def cropped(self, head: Head) -> tuple[Head, _Lattice]:
        """The head without the air around it, but for a rim, and its lattice."""
        inside, rim = head.structures.numpy() != 0, math.ceil(_RIM / self.spacing)
        box, shape = [], []
        for axis, length in enumerate(self.shape):
            others = tuple(k for k in range(3) if k != axis)
            found = np.flatnonzero(inside.any(axis=others)) // self.factor
            low, high = max(0, int(found[0]) - rim), min(length, int(found[-1]) + rim + 1)
            box.append(slice(low * self.factor, high * self.factor))
            shape.append(high - low)
        cut, (x, y, z) = tuple(box), shape
        return Head(head.structures[cut], head.brain[cut]), replace(self, shape=(x, y, z))

    @property
    def fine(self) -> tuple[int, int, int]:
        return tuple(n * self.factor for n in self.shape)  # type: ignore[return-value]

    @property
    def affine(self) -> np.ndarray:
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = -(np.array(self.shape) - 1) * self.spacing / 2
        return affine

    def mean(self, image: np.ndarray) -> np.ndarray:
        """Means over the fine voxels of each voxel."""
        if self.factor == 1:
            return image
        sizes = [part for n in self.shape for part in (n, self.factor)]
        return image.reshape(sizes).mean(axis=(1, 3, 5))


def _labels(head: Head, lattice: _Lattice) -> np.ndarray:
    """The tissue with the largest share of each voxel, as in `Subject.labels`: int16."""
    values = np.array([TISSUE_VALUES[tissue] for tissue in TISSUE_OF], dtype=np.int16)
    fine = values[head.structures.numpy()]
    if lattice.factor == 1:
        return fine
    shares = [lattice.mean((fine == value).astype(np.float32)) for value in range(5)]
    return np.argmax(shares, axis=0).astype(np.int16)


@dataclass(frozen=True)
class _Scan:
    array: np.ndarray
    units: str
    sigma: float
    drawn: dict[str, Any]


def _scan(
    head: Head,
    lattice: _Lattice,
    brain: np.ndarray,
    properties: Properties,
    settings: Settings,
    name: str,
    rng: np.random.Generator,
) -> _Scan:
    """The scan of one modality, and its random parameters."""
    absolute = policy_for(name).kind == "window"  # units such as HU, not those of a receiver
    means = signals(rng, name, properties)
    white = float(means[TISSUE_OF.index("white")])
    gain = 1.0 if absolute else rng.uniform(300, 900) / white
    image = _ideal(head, lattice, gain * means, rng)
    axis = int(rng.integers(3)) if settings.any_plane else 2
    low, high = settings.thickness
    thickness, offset = rng.uniform(low, high), rng.uniform()
    turned = np.moveaxis(image, axis, 2)
    image = np.moveaxis(thick_slices(turned, settings.spacing, thickness, offset), 2, axis)
    drawn: dict[str, Any] = {
        "plane": _PLANES[axis],
        "slice_thickness_mm": max(thickness, settings.spacing),
    }
    if absolute:
        sigma = rng.uniform(2, 6)
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
        outside = float(means[0])
        drawn |= {"noise_sigma": sigma}
    else:
        snr, bias = rng.uniform(20, 50), rng.uniform(0.05, 0.25)
        image *= bias_field(rng, image.shape, bias)
        if settings.artefacts:
            image = _disturbed(image, axis, rng)
        sigma = gain * white / snr
        image, outside = rician(image, sigma, rng), 0.0
        drawn |= {"snr_white": snr, "noise_sigma": sigma, "bias_strength": bias}
    array = image if settings.head else np.where(brain, image, outside)
    units = "HU" if absolute else "a.u."
    return _Scan(array.astype(np.float32), units, sigma, drawn)


def _ideal(
    head: Head, lattice: _Lattice, means: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The image without noise; a slowly varying texture lies in every structure."""
    structures = head.structures.numpy()
    image = lattice.mean(means.astype(np.float32)[structures])
    draw = Draw(torch.Generator().manual_seed(int(rng.integers(2**62))))
    texture = draw.field(lattice.shape, _GRAIN / lattice.spacing).numpy()
    texture *= np.float32(_TEXTURE * float(np.abs(means[1:]).mean()))
    texture *= lattice.mean((structures != 0).astype(np.float32))
    texture += image
    return texture


def _disturbed(image: np.ndarray, slice_axis: int, rng: np.random.Generator) -> np.ndarray:
    """Ringing and motion along a random axis in plane."""
    axis = int(rng.choice([k for k in range(3) if k != slice_axis]))
    image = ringing(image, axis, rng.uniform(0.6, 1))
    return motion(image, axis, rng.uniform(0.5, 3), rng.uniform(0.6, 0.9), rng)
