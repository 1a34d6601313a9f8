"""Anatomy of the digital brain: the fraction of each tissue in every voxel.

The anatomy of a subject is an average brain that is deformed by a smooth diffeomorphism, with a
random cortex. Sulci are the zero surfaces of a band-limited random field that is stretched towards
the centre of each hemisphere. Grey matter lies within the cortical thickness of CSF. Where the
template is certain, it overrides the random cortex. All random fields are drawn on lattices that
are fixed in template space, so that a seed gives the same subject at any spacing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import expit

from chiasm.phantom.fields import average, normalised, sample, smooth_noise, stream, stretch
from chiasm.phantom.template import template

BRAIN = ("csf", "grey", "white", "lesion")
HEAD = ("skull", "marrow", "muscle", "fat")
TISSUES = BRAIN + HEAD

# Steps of the lattices on which folds and warps are drawn, in mm.
_FOLD_STEP = 2
_WARP_STEP = 4
# The point to which the sulci of a hemisphere converge, in MNI mm; x is mirrored.
_HEMISPHERE = (28.0, -15.0, 8.0)
# Layers around the brain from the inside out, with their smallest and largest thickness in mm.
_LAYERS = (
    ("csf", 0.5, 3.0), ("skull", 1.5, 2.5), ("marrow", 1.0, 3.0), ("skull", 1.0, 2.0),
    ("muscle", 0.5, 3.0), ("fat", 2.0, 6.0), ("muscle", 1.0, 2.0),
)  # fmt: skip
# How far brain and head can extend from the hull of the template's brain, in mm.
_BRAIN_MARGIN, _HEAD_MARGIN = 4, 30


@dataclass(frozen=True)
class Build:
    """The random parameters of one subject. Lengths apply before the size is scaled.

    Attributes
    ----------
    size : tuple of three floats
        Along left–right, back–front and bottom–top, relative to the template; 0.92 to 1.08.
    rotation_deg : tuple of three floats
        About x, y, z; −5 to 5.
    shift_mm : tuple of three floats
        −4 to 4.
    ventricle_growth_mm : float
        How far the walls of the ventricles are pushed outwards; −1.5 to 4.
    cortical_thickness_mm, sulcal_width_mm, sulcal_depth_mm : float
        Averages over the cortex.
    mask_shift_mm : float
        How far the brain mask lies outside that of the template; −1 to 1.
    """

    size: tuple[float, ...]
    rotation_deg: tuple[float, ...]
    shift_mm: tuple[float, ...]
    ventricle_growth_mm: float
    cortical_thickness_mm: float
    sulcal_width_mm: float
    sulcal_depth_mm: float
    mask_shift_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """Draw the parameters of one subject."""
        size = rng.uniform(0.94, 1.05) * rng.uniform(0.98, 1.02, 3)
        return cls(
            size=tuple(size.tolist()),
            rotation_deg=tuple(rng.uniform(-5, 5, 3).tolist()),
            shift_mm=tuple(rng.uniform(-4, 4, 3).tolist()),
            ventricle_growth_mm=rng.uniform(-1.5, 4.0),
            cortical_thickness_mm=rng.uniform(2.0, 2.8),
            sulcal_width_mm=rng.uniform(0.8, 2.2),
            sulcal_depth_mm=rng.uniform(11.0, 16.0),
            mask_shift_mm=rng.uniform(-1.0, 1.0),
        )


def displacement(rng: np.random.Generator, ventricle_growth: float) -> np.ndarray:
    """A random diffeomorphism: the exponential of a smooth stationary velocity field.

    The exponential is computed by scaling and squaring (Arsigny et al., MICCAI 2006).

    Parameters
    ----------
    rng : Generator
    ventricle_growth : float
        Velocity along the normal of the walls of the ventricles, in mm.

    Returns
    -------
    float32 array, shape (3, I, J, K)
        On the template's 4 mm lattice, the displacement in mm from each point to the point from
        which its tissue is taken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI reports which of its two samplers it uses
        from monai.networks.blocks import DVF2DDF

        integrate = DVF2DDF(num_steps=7, mode="bilinear", padding_mode="border")
    known = template()
    inwards = np.stack(
        [slope[(slice(None, None, _WARP_STEP),) * 3] for slope in _slopes(known.ventricles, 1)]
    )
    velocity = ventricle_growth * inwards / np.sqrt((inwards**2).sum(0)).max()
    for sigma, strength in ((18.0, 2.2), (8.0, 0.9)):
        for axis in range(3):
            noise = smooth_noise(rng, known.frame.shape(_WARP_STEP), sigma / _WARP_STEP)
            velocity[axis] += strength * noise
    steps = torch.from_numpy((velocity / _WARP_STEP).astype(np.float32))
    return integrate(steps[None])[0].numpy() * _WARP_STEP


def _slopes(field: np.ndarray, step: float) -> list[np.ndarray]:
    """Derivatives along the three axes, per mm."""
    return np.gradient(field, step)  # type: ignore[return-value]


def _steepness(field: np.ndarray, step: float) -> np.ndarray:
    """Length of the gradient, per mm."""
    return np.sqrt(sum(slope**2 for slope in _slopes(field, step)))


def _folds(rng: np.random.Generator) -> np.ndarray:
    """Random maps of the cortex on the 2 mm lattice: (4, I, J, K).

    The first map is the signed distance to the nearest sulcus (mm, at most 8). Two fields vary on
    the scale of a gyrus and one on the scale of a voxel (zero mean, unit variance).
    """
    frame = template().frame
    shape, points = frame.shape(_FOLD_STEP), frame.points(_FOLD_STEP)
    pattern = smooth_noise(rng, shape, 3.8 / _FOLD_STEP, band=True)
    x, y, z = _HEMISPHERE
    centre = np.stack([x * np.tanh(points[0] / 6), *(np.full_like(points[0], c) for c in (y, z))])
    offset = points - centre
    radius = np.sqrt((offset**2).sum(0)) + 1e-3
    # Radial distances are compressed to about a third, so that the pattern forms deep sheets.
    from_origin = centre + offset * (45 + 0.35 * (radius - 45)) / radius
    from_origin -= frame.origin.reshape(3, 1, 1, 1)
    sheets = sample(pattern[None], normalised(from_origin, frame.extent))[0]
    # Near the centre the sheets would be too dense. Raising the field above zero ends them.
    sheets += 3 * np.clip((34 - radius) / 12, 0, 1)
    sheets = ndimage.gaussian_filter(sheets, 0.8)
    distance = sheets / np.maximum(_steepness(sheets, _FOLD_STEP), 0.12)
    fields = [np.clip(distance, -8, 8)]
    fields += [smooth_noise(rng, shape, 6 / _FOLD_STEP, band=True) for _ in range(2)]
    fields += [smooth_noise(rng, shape, 2 / _FOLD_STEP)]
    return np.stack(fields).astype(np.float32)


def _lesions(rng: np.random.Generator) -> tuple[int, np.ndarray]:
    """4 to 30 ellipsoids of 1 to 8 mm radius in white matter, most of them near the ventricles.

    Returns their number, and their signed distance map on the 1 mm lattice in mm, positive inside.
    """
    known = template()
    count = int(rng.integers(4, 31))
    centres = rng.choice(known.lesion_sites, count, p=known.lesion_odds)
    radii = np.clip(rng.lognormal(np.log(2.6), 0.45, count), 1, 8)
    stretches = rng.uniform(0.7, 1.4, (count, 3))
    distance = np.full(known.frame.shape(1), -9.0, dtype=np.float32)
    for centre, radius, factors in zip(centres, radii, stretches, strict=True):
        low = np.maximum(centre - 16, 0)
        around = tuple(slice(a, b) for a, b in zip(low, centre + 17, strict=True))
        axes = np.ix_(*(np.arange(n)[s] for n, s in zip(distance.shape, around, strict=True)))
        offsets = zip(axes, centre, factors, strict=True)
        reach = np.sqrt(sum(((axis - middle) / factor) ** 2 for axis, middle, factor in offsets))
        distance[around] = np.maximum(distance[around], radius - reach)
    return count, distance


def _origins(build: Build, warp: np.ndarray) -> torch.Tensor:
    """For each point of the output's 4 mm lattice, the template point that gives its tissue.

    Size, rotation and shift are inverted first, then the warp is added. The result has shape
    (I, J, K, 3), as input for `sample`.
    """
    frame = template().frame
    middle = (frame.origin + frame.extent / 2).reshape(3, 1, 1, 1)
    turn = Rotation.from_euler("xyz", build.rotation_deg, degrees=True).inv().as_matrix()
    inverse = turn / np.reshape(build.size, (3, 1))
    moved = frame.points(_WARP_STEP) - middle - np.reshape(build.shift_mm, (3, 1, 1, 1))
    offset = middle + np.tensordot(inverse, moved, axes=1) - frame.origin.reshape(3, 1, 1, 1)
    offset += sample(warp, normalised(offset, frame.extent))
    return normalised(offset, frame.extent)


@dataclass(frozen=True)
class _Points:
    """A list of the lattice points that may contain tissue.

    Attributes
    ----------
    chosen : bool array, shape (X, Y, Z)
        The points of the lattice that are in the list.
    step : float
        Step of the lattice, in mm.
    where : tensor, shape (1, 1, N, 3)
        Positions of the N points in the template, as input for `sample`.
    """

    chosen: np.ndarray
    step: float
    where: torch.Tensor

    def sample(self, maps: np.ndarray) -> np.ndarray:
        """Values of the template's maps at the points: (C, N)."""
        return sample(maps, self.where)[:, 0, 0]

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the points, put on the lattice, 0 elsewhere: (…, N) → (…, X, Y, Z)."""
        lattice = np.zeros((*values.shape[:-1], *self.chosen.shape), dtype=np.float32)
        lattice[..., self.chosen] = values
        return lattice

    def inside(self, score: np.ndarray, width: float) -> np.ndarray:
        """The fraction of each voxel on the positive side of the zero surface of a score.

        The score divided by its slope is the distance from the surface in mm. The fraction grows
        linearly over ``width`` mm, as for a voxel of this width that is cut by a plane.
        """
        slope = _steepness(self.spread(score), self.step)[self.chosen]
        return np.clip(0.5 + score / np.maximum(slope, 0.25) / width, 0, 1)


def _tissues(points: _Points, maps: np.ndarray, folds: np.ndarray, build: Build) -> np.ndarray:
    """Fractions of CSF, grey and white matter before the hull is applied; sum 1; (3, N)."""
    log_white, log_csf, depth, _, deep, cortex = maps
    sheet, wide, other, _ = folds
    thickness = build.cortical_thickness_mm + 0.3 * wide
    half_width = build.sulcal_width_mm / 2 + 0.3 * other
    reach = build.sulcal_depth_mm + 4 * wide
    # Distance from CSF: from the outer surface or from a sulcus, down to the sulcal depth.
    distance = np.minimum(depth - 0.3, np.maximum(np.abs(sheet) - half_width, depth - reach))
    distance = np.clip(distance, -3, 6)
    white_score = 0.8 * log_white + 0.7 + 1.5 * (distance - thickness) * cortex
    csf_score = 0.4 * np.maximum(log_csf, -3) - 4 * np.clip(distance, -1, 1) * cortex
    csf_score -= np.maximum(log_white - 1, 0) * cortex
    csf = points.inside(csf_score, points.step)
    # The deepest layers of the cortex are myelinated, so its inner border is softer.
    white = (1 - csf) * points.inside(white_score, points.step + 0.8)

    # In deep structures, nuclei and tracts blend as in the template; only ventricles are sharp.
    p_white = expit(log_white)
    p_grey = np.clip(1 - p_white - expit(log_csf), 0.01, 1)
    deep_csf = points.inside(log_csf, points.step)
    csf += deep * (deep_csf - csf)
    white += deep * ((1 - deep_csf) / (1 + (p_grey / p_white) ** 1.5) - white)
    return np.stack([csf, 1 - csf - white, white])


def _layers(
    rng: np.random.Generator, points: _Points, outside: np.ndarray
) -> dict[str, np.ndarray]:
    """Fractions of the layers around the brain, given the distance from it in mm: (N,) each."""
    frame = template().frame
    swelling = smooth_noise(rng, frame.shape(_WARP_STEP), 24 / _WARP_STEP)
    relative = np.clip(1 + 0.25 * points.sample(swelling[None])[0], 0.3, 2)
    fractions = {tissue: np.zeros_like(outside) for tissue in ("csf", *HEAD)}
    beyond = np.clip(0.5 + outside / points.step, 0, 1)
    reach = np.zeros_like(outside)
    for tissue, low, high in _LAYERS:
        reach += rng.uniform(low, high) * relative
        following = np.clip(0.5 + (outside - reach) / points.step, 0, 1)
        fractions[tissue] += beyond - following
        beyond = following
    return fractions


@dataclass(frozen=True)
class Anatomy:
    """One subject on the output lattice.

    Attributes
    ----------
    shape : tuple of int
        Shape of the lattice, (X, Y, Z).
    affine : array, shape (4, 4)
        Voxel index → mm, RAS+.
    box : tuple of three slices
        The part of the lattice that contains tissue.
    fractions : float32 array, shape (8, \\*box)
        Fraction of each of `TISSUES`, 0 to 1. They sum to 1 in the brain. Outside it they sum to
        0, or, with a head, to 1 up to the skin.
    mask : bool array, shape of the box
        The brain.
    labels : int16 array, shape of the box
        1 + the index in `BRAIN` of the tissue with the largest fraction; 0 outside the mask. For
        this comparison, a lesion is counted together with the white matter around it.
    texture : float32 array, shape of the box
        Smooth variation inside tissues; zero mean, variance at most 1.
    volumes : dict
        Tissue of `BRAIN` → volume in ml.
    build : Build
    lesion_count : int
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    box: tuple[slice, ...]
    fractions: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    texture: np.ndarray
    volumes: dict[str, float]
    build: Build
    lesion_count: int

    def on_lattice(self, boxed: np.ndarray) -> np.ndarray:
        """An array of the box on the complete lattice, 0 elsewhere."""
        array = np.zeros(self.shape, dtype=boxed.dtype)
        array[self.box] = boxed
        return array


@dataclass(frozen=True)
class _Output:
    """The output lattice, and the finer lattice on which tissues are computed; lengths in mm."""

    spacing: float

    @property
    def shape(self) -> np.ndarray:
        return np.floor(template().frame.extent / self.spacing).astype(int) + 1

    @property
    def start(self) -> np.ndarray:
        """Position of the first voxel's centre, from the origin of the frame with equal centre."""
        return (template().frame.extent - (self.shape - 1) * self.spacing) / 2

    @property
    def factor(self) -> int:
        """Points per voxel along each axis: 2 for a spacing of at least 2 mm, else 1."""
        return 2 if self.spacing >= 2 else 1

    def coarse(self, box: tuple[slice, ...], factor: int) -> list[np.ndarray]:
        """The points of a box along each axis, in steps of the 4 mm lattice."""
        inner = (np.arange(factor) - (factor - 1) / 2) / factor
        lines = (np.add.outer(np.arange(side.start, side.stop), inner).ravel() for side in box)
        return [
            (start + line * self.spacing) / _WARP_STEP
            for start, line in zip(self.start, lines, strict=True)
        ]

    def box(self, hull: np.ndarray, margin: float) -> tuple[slice, ...]:
        """The box in which the distance from the hull, on the 4 mm lattice, is below a margin."""
        near = (np.argwhere(hull < margin) * _WARP_STEP - self.start) / self.spacing
        low = np.maximum(np.floor(near.min(0)) - 1, 0).astype(int)
        high = np.minimum(np.ceil(near.max(0)) + 2, self.shape).astype(int)
        return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

    def points(self, origins: torch.Tensor, hull: np.ndarray, box: tuple, margin: float) -> _Points:
        """The points of the box within the margin of the hull."""
        near = stretch(hull, self.coarse(box, 1)) < margin
        for axis in range(3):
            near = near.repeat(self.factor, axis)
        where = stretch(origins.numpy(), self.coarse(box, self.factor))[near]
        return _Points(near, self.spacing / self.factor, torch.from_numpy(where)[None, None])


def build_anatomy(
    seed: int, spacing: float, *, lesions: bool = False, head: bool = False
) -> Anatomy:
    """The anatomy of one subject.

    Parameters
    ----------
    seed : int
        Seed of the subject. Lesions and head have separate random streams and change nothing
        else.
    spacing : float
        Spacing of the output lattice, in mm. From 2 mm on, tissues are computed at half of it and
        averaged.
    lesions, head : bool
        Whether there are white-matter lesions, and whether there are skull, muscle, fat and skin.

    Returns
    -------
    Anatomy
    """
    known, output = template(), _Output(spacing)
    rng = stream(seed, "anatomy")
    build = Build.draw(rng)
    origins = _origins(build, displacement(rng, build.ventricle_growth_mm))
    hull = sample(known.maps[3:4], origins)[0]
    margin = _HEAD_MARGIN if head else _BRAIN_MARGIN
    box = output.box(hull, margin)
    points = output.points(origins, hull, box, margin)

    maps, folds = points.sample(known.maps), points.sample(_folds(stream(seed, "folds")))
    tissues, lesion_count = _tissues(points, maps, folds, build), 0
    brain = np.concatenate([tissues, np.zeros_like(tissues[:1])])
    if lesions:
        lesion_count, distance = _lesions(stream(seed, "lesions"))
        ragged = points.sample(distance[None])[0] + 0.6 * folds[3]
        brain[3] = brain[2] * np.clip(0.5 + ragged / points.step, 0, 1)
        brain[2] -= brain[3]
    outside = maps[3] - build.mask_shift_mm - 0.4 * folds[1]
    brain *= np.clip(0.5 - outside / points.step, 0, 1)
    fractions = average(points.spread(brain), output.factor)

    mask = fractions.sum(0) > 0.5
    csf, grey, white, lesion = fractions
    labels = np.stack([csf, grey, white + lesion]).argmax(0) + 1
    labels[(labels == 3) & (lesion > white)] = 4
    millilitres = fractions.sum((1, 2, 3), dtype=np.float64) * spacing**3 / 1000
    around = np.zeros((1 + len(HEAD), *mask.shape), np.float32)
    if head:
        layers = np.stack(list(_layers(stream(seed, "head"), points, outside).values()))
        around = average(points.spread(layers), output.factor)
    fractions[0] += around[0]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = known.frame.origin + output.start
    return Anatomy(
        shape=tuple(output.shape.tolist()),  # type: ignore[arg-type]
        affine=affine,
        box=box,
        fractions=np.concatenate([fractions, around[1:]]),
        mask=mask,
        labels=(labels * mask).astype(np.int16),
        texture=average(points.spread(folds[3:4]), output.factor)[0],
        volumes=dict(zip(BRAIN, millilitres.tolist(), strict=True)),
        build=build,
        lesion_count=lesion_count,
    )
