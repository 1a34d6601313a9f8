"""Anatomy of the digital brain: how much of which tissue fills each voxel.

The packaged ICBM 2009 templates (nilearn; Fonov et al., NeuroImage 2011, 54:313) are averages: they
know where nuclei, ventricles and large sulci lie, and are blurred where people differ. Each subject
therefore gets the average's geography, bent by its own smooth diffeomorphism, and a cortex of its
own: sulci are the zero surfaces of a band-limited random field that is stretched towards the centre
of each hemisphere, grey matter is what lies within the cortical thickness of them, and where the
template is sure of itself it wins. Everything random is drawn on lattices fixed in the template's
millimetres, so one seed is one person whatever the spacing.
"""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import expit, logit
from torch.nn import functional

BRAIN = ("csf", "grey", "white", "lesion")
HEAD = ("skull", "marrow", "muscle", "fat")
TISSUES = BRAIN + HEAD

# Steps of the lattices that span the template's field of view, in mm.
_FOLD_STEP = 2
_WARP_STEP = 4

# Ellipsoids in MNI mm (centre, radii), mirrored in x. In the first two the template is sharp and
# tissues blend into each other (nuclei, brainstem); in the third, folds are too fine for 1 mm.
_NUCLEI = ((0, -6, 4), (34, 36, 22))
_BRAINSTEM = ((0, -28, -35), (17, 16, 28))
_CEREBELLUM = ((0, -62, -38), (56, 34, 26))
# Where the lateral ventricles lie, and points inside them.
_VENTRICLE_BOX = ((-42, 42), (-75, 40), (-6, 40))
_VENTRICLE_SEEDS = ((10, 5, 20), (-10, 5, 20), (12, -25, 22), (-12, -25, 22))
# The point of each hemisphere that sulci converge to, and how fast x turns from one to the other.
_HEMISPHERE = (28.0, -15.0, 8.0)

# Layers around the brain from the inside out, with their thickness in mm.
_LAYERS = (
    ("csf", 0.5, 3.0), ("skull", 1.5, 2.5), ("marrow", 1.0, 3.0), ("skull", 1.0, 2.0),
    ("muscle", 0.5, 3.0), ("fat", 2.0, 6.0), ("muscle", 1.0, 2.0),
)  # fmt: skip


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream that depends on nothing but the seed and its own name."""
    key = zlib.crc32(name.encode())
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float, band: bool = False
) -> np.ndarray:
    """Gaussian random field of zero mean and unit variance.

    Parameters
    ----------
    shape : tuple of int
        Of the lattice.
    sigma : float
        Of the smoothing kernel, in lattice steps.
    band : bool
        Take away the field smoothed 1.6 times wider, which leaves one scale (a wavelength of
        about 2π·sigma).
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(white, sigma, mode="wrap")
    if band:
        field -= ndimage.gaussian_filter(white, 1.6 * sigma, mode="wrap")
    field -= field.mean()
    return field / field.std()


@dataclass(frozen=True)
class Template:
    """What the average brain knows, on its 1 mm lattice; made once per process.

    Attributes
    ----------
    origin, extent : array, shape (3,)
        First voxel's centre and distance to the last one's, in mm.
    maps : tensor, shape (1, 6, I, J, K)
        Log-odds of white matter and of CSF; depth below the outer CSF and distance outside the
        brain's hull (signed, mm); weight of the deep structures and of the folded cortex (0 to 1).
    ventricles : array
        Outward velocity that widens the ventricles, at most 1, on the warp lattice: (3, I, J, K).
    lesion_sites, lesion_odds : array
        White-matter points in mm, (N, 3), and how likely a lesion sits there.
    """

    origin: np.ndarray
    extent: np.ndarray
    maps: torch.Tensor
    ventricles: np.ndarray
    lesion_sites: np.ndarray
    lesion_odds: np.ndarray

    def shape(self, step: float) -> tuple[int, int, int]:
        """Of the lattice that spans the field of view at a step, in mm."""
        return tuple(int(n) for n in self.extent // step + 1)  # type: ignore[return-value]

    def axes(self, step: float) -> list[np.ndarray]:
        """Positions along each axis of that lattice in mm, shaped to broadcast against it."""
        places = (
            o + step * np.arange(n) for o, n in zip(self.origin, self.shape(step), strict=True)
        )
        return list(np.ix_(*(place.astype(np.float32) for place in places)))


def _log_odds(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, 0.01, 0.99))


def _ellipsoid(axes: list[np.ndarray], ellipsoid: tuple) -> np.ndarray:
    """1 inside, 0 outside, over about 4 mm at the edge."""
    parts = (((x - c) / r) ** 2 for x, c, r in zip(axes, *ellipsoid, strict=True))
    outside = (np.sqrt(sum(parts, np.float32(0))) - 1) * min(ellipsoid[1])
    return expit(-outside / 2)


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance to the boundary in voxels, positive inside, smoothed to sub-voxel steps."""
    boundary = inside & ~ndimage.binary_erosion(inside, border_value=1)
    distance = ndimage.distance_transform_edt(~boundary).astype(np.float32)
    distance = np.where(inside, distance + 0.5, 0.5 - distance)
    return ndimage.gaussian_filter(distance, 0.7)


def _ventricles(csf: np.ndarray, axes: list[np.ndarray], origin: np.ndarray) -> np.ndarray:
    """The lateral ventricles: CSF in their box that hangs together with a seed."""
    inside = csf > 0.5
    for axis, (low, high) in zip(axes, _VENTRICLE_BOX, strict=True):
        inside &= (axis > low) & (axis < high)
    pieces, _ = ndimage.label(inside)
    seeds = np.asarray(_VENTRICLE_SEEDS) - origin.astype(int)
    return np.isin(pieces, [piece for piece in pieces[tuple(seeds.T)] if piece])


@lru_cache(maxsize=1)
def template() -> Template:
    """Read the packaged templates (no network) and derive the maps."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=1)
    brain, grey, white = (
        np.asarray(load(resolution=1).dataobj, dtype=np.float32)
        for load in (
            datasets.load_mni152_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    )
    inside = brain > 0
    origin, extent = image.affine[:3, 3], np.array(inside.shape) - 1.0
    axes = Template(origin, extent, torch.empty(0), *(np.empty(0),) * 3).axes(1)
    csf = np.clip(1 - grey - white, 0, 1) * inside

    ventricles = _ventricles(csf, axes, origin)
    bulge = ndimage.gaussian_filter(ventricles.astype(np.float32), 5)
    beside = np.minimum(10 * bulge, 1)
    # The thin grey rim of the ventricles is CSF and white matter sharing a voxel, not tissue.
    rim = (grey - ndimage.grey_opening(grey, size=4)) * beside
    white, csf = white + rim * (white > csf), csf + rim * (white <= csf) * inside

    nuclei = np.maximum(_ellipsoid(axes, _NUCLEI), _ellipsoid(axes, _BRAINSTEM))
    deep = np.maximum(nuclei, beside)
    cortex = (1 - deep) * (1 - 0.75 * _ellipsoid(axes, _CEREBELLUM))
    outer = ~inside | ((csf > 0.4) & (deep < 0.5))
    maps = np.stack(
        [
            _log_odds(white),
            _log_odds(csf),
            _signed_distance(~outer),
            -_signed_distance(inside),
            deep,
            cortex,
        ]
    ).astype(np.float32)

    coarse = (slice(None, None, _WARP_STEP),) * 3
    widen = np.stack([slope[coarse] for slope in np.gradient(bulge)])
    widen /= np.sqrt((widen**2).sum(0)).max()

    site = (white > 0.8) & (axes[2] > -10)
    odds = bulge[site] + 0.01
    return Template(
        origin,
        extent,
        torch.from_numpy(maps)[None],
        widen,
        np.argwhere(site) + origin,
        odds / odds.sum(),
    )


@dataclass(frozen=True)
class Build:
    """What is drawn of one person; lengths in mm before the size is applied.

    Attributes
    ----------
    size : tuple of three floats
        Along left–right, back–front, bottom–top, relative to the template; 0.92 to 1.08.
    rotation_deg : tuple of three floats
        About x, y, z, in degrees; −5 to 5.
    shift_mm : tuple of three floats
        In mm; −4 to 4.
    ventricle_growth_mm : float
        How far the ventricles' walls are pushed out, in mm; −1.5 to 4.
    cortical_thickness_mm, sulcal_width_mm, sulcal_depth_mm : float
        In mm.
    mask_shift_mm : float
        How far the brain mask lies outside the template's, in mm.
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
        """One person at random."""
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

    Parameters
    ----------
    rng : Generator
    ventricle_growth : float
        Added along the normal of the ventricles' walls, in mm.

    Returns
    -------
    array, shape (3, I, J, K)
        On the 4 mm lattice of the template: where each point takes its tissue from, in mm relative
        to itself (Arsigny et al., MICCAI 2006: scaling and squaring).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tells which of its two samplers it uses
        from monai.networks.blocks import DVF2DDF

        integrate = DVF2DDF(num_steps=7, mode="bilinear", padding_mode="border")
    known = template()
    shape = known.shape(_WARP_STEP)
    velocity = ventricle_growth * known.ventricles
    for sigma, strength in ((18.0, 2.2), (8.0, 0.9)):
        for axis in range(3):
            velocity[axis] += strength * smooth_noise(rng, shape, sigma / _WARP_STEP)
    steps = torch.from_numpy(velocity.astype(np.float32) / _WARP_STEP)[None]
    return integrate(steps)[0].numpy() * _WARP_STEP


def _sample(maps: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of (1, C, I, J, K) at (1, X, Y, Z, 3) in [−1, 1]: (C, X, Y, Z)."""
    return functional.grid_sample(maps, where, padding_mode="border", align_corners=True)[0]


def _folds(rng: np.random.Generator) -> torch.Tensor:
    """Random maps of the cortex on the 2 mm lattice: (1, 4, I, J, K).

    Signed distance to the nearest sulcal sheet (mm, at most 8), two fields of the scale of a gyrus
    and one of the scale of a voxel (zero mean, unit variance).
    """
    known = template()
    shape = known.shape(_FOLD_STEP)
    points = np.stack(np.broadcast_arrays(*known.axes(_FOLD_STEP)))
    pattern = smooth_noise(rng, shape, 3.8 / _FOLD_STEP, band=True)
    x, y, z = _HEMISPHERE
    centre = np.stack([x * np.tanh(points[0] / 6), *(np.full_like(points[0], c) for c in (y, z))])
    offset = points - centre
    radius = np.sqrt((offset**2).sum(0)) + 1e-3
    # Depth counts about a third of breadth, so that the pattern runs down as sheets.
    where = centre + offset * (45 + 0.35 * (radius - 45)) / radius
    place = _normalised(where - known.origin.reshape(3, 1, 1, 1), known.extent)
    sheets = _sample(torch.from_numpy(pattern)[None, None], place)[0].numpy()
    # Sheets end, as surfaces of no height do, before they crowd at the centre.
    sheets += 3 * np.clip((34 - radius) / 12, 0, 1)
    sheets = ndimage.gaussian_filter(sheets, 0.8)
    slope = np.sqrt(sum(part**2 for part in np.gradient(sheets, _FOLD_STEP)))
    fields = [np.clip(sheets / np.maximum(slope, 0.12), -8, 8)]
    fields += [smooth_noise(rng, shape, 6 / _FOLD_STEP, band=True) for _ in range(2)]
    fields += [smooth_noise(rng, shape, 2 / _FOLD_STEP)]
    return torch.from_numpy(np.stack(fields).astype(np.float32))[None]


def _normalised(offset: np.ndarray, extent: np.ndarray) -> torch.Tensor:
    """Millimetres from the first voxel, (3, …), as `_sample` wants them: (1, …, 3)."""
    unit = 2 * offset / extent.reshape(3, 1, 1, 1) - 1
    return torch.from_numpy(np.moveaxis(unit[::-1], 0, -1).astype(np.float32).copy())[None]


@dataclass(frozen=True)
class Lesions:
    """Ellipsoidal lesions on the template's lattice: (1, 1, I, J, K), positive inside, mm."""

    count: int
    distance: torch.Tensor

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Lesions:
        """4 to 30 lesions of 1 to 8 mm radius, most of them beside the ventricles."""
        known = template()
        count = int(rng.integers(4, 31))
        centres = rng.choice(known.lesion_sites, count, p=known.lesion_odds)
        radii = np.clip(rng.lognormal(np.log(2.6), 0.45, count), 1, 8)
        stretch = rng.uniform(0.7, 1.4, (count, 3))
        distance = np.full(known.shape(1), -9.0, dtype=np.float32)
        for centre, radius, factors in zip(centres, radii, stretch, strict=True):
            middle = centre - known.origin
            low = np.maximum(np.floor(middle - 16), 0).astype(int)
            high = np.minimum(np.ceil(middle + 17), distance.shape).astype(int)
            axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
            offsets = zip(np.meshgrid(*axes, indexing="ij"), middle, factors, strict=True)
            reach = np.sqrt(sum(((axis - m) / f) ** 2 for axis, m, f in offsets))
            part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            distance[part] = np.maximum(distance[part], radius - reach)
        return cls(count, torch.from_numpy(distance)[None, None])


@dataclass(frozen=True)
class Anatomy:
    """One person on the output lattice.

    Attributes
    ----------
    shape : tuple of int
        Of the lattice, (X, Y, Z).
    affine : array, shape (4, 4)
        Voxel index → mm, RAS+.
    box : tuple of three slices
        The part of the lattice that holds tissue.
    fractions : float32 array, shape (8, \\*box)
        Of each of `TISSUES`, 0 to 1. In the brain they sum to 1; outside it to 0, or where there
        is a head to 1 up to the skin.
    mask : bool array, shape of the box
        The brain.
    labels : int16 array, shape of the box
        1 + the place in `BRAIN` of the tissue that fills most, where a lesion counts with the
        white matter it lies in; 0 outside the mask.
    texture : float32 array, shape of the box
        Smooth variation inside tissues; zero mean, unit variance.
    volumes : dict
        Tissue of `BRAIN` → ml.
    build : Build
    lesion_count : int
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    box: tuple[slice, slice, slice]
    fractions: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    texture: np.ndarray
    volumes: dict[str, float]
    build: Build
    lesion_count: int

    def whole(self, part: np.ndarray) -> np.ndarray:
        """An array of the box on the whole lattice, 0 elsewhere."""
        array = np.zeros(self.shape, dtype=part.dtype)
        array[self.box] = part
        return array


def _stretch(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along one axis at places in steps; each place on its own."""
    left = np.clip(places.astype(int), 0, values.shape[axis] - 2)
    weight = np.expand_dims((places - left).astype(np.float32), tuple(range(1, values.ndim - axis)))
    low, high = values.take(left, axis), values.take(left + 1, axis)
    return low + weight * (high - low)


@dataclass(frozen=True)
class _Place:
    """Where points of the output lie in the template: size, rotation, shift, then the warp."""

    coarse: np.ndarray

    @classmethod
    def of(cls, build: Build, warp: np.ndarray) -> _Place:
        """The map is smooth: it is evaluated every 4 mm, and interpolated where it is asked for."""
        known = template()
        points = np.stack(np.broadcast_arrays(*known.axes(_WARP_STEP)))
        middle = (known.origin + known.extent / 2).reshape(3, 1, 1, 1)
        turn = Rotation.from_euler("xyz", build.rotation_deg, degrees=True).inv().as_matrix()
        inverse = turn / np.reshape(build.size, (3, 1))
        shift = np.reshape(build.shift_mm, (3, 1, 1, 1))
        points = middle + np.tensordot(inverse, points - middle - shift, axes=1)
        offset = points - known.origin.reshape(3, 1, 1, 1)
        moved = _sample(torch.from_numpy(warp)[None], _normalised(offset, known.extent)).numpy()
        return cls(_normalised(offset + moved, known.extent)[0].numpy())

    def __call__(self, start: np.ndarray, step: float, count: np.ndarray) -> torch.Tensor:
        """Of the lattice from ``start`` (mm from the first voxel): (1, X, Y, Z, 3), as `_sample`
        wants it.
        """
        where = self.coarse
        for axis in (2, 1, 0):
            where = _stretch(
                where, (start[axis] + step * np.arange(count[axis])) / _WARP_STEP, axis
            )
        return torch.from_numpy(where)[None]


def _edge(score: np.ndarray, step: float, width: float) -> np.ndarray:
    """The part of a voxel on the positive side of a score's zero surface.

    The score divided by its slope is the distance from that surface in mm, and the part grows
    linearly over ``width`` mm: the exact part of a voxel of that width cut by a plane.
    """
    slope = np.sqrt(sum(part**2 for part in np.gradient(score, step)))
    return np.clip(0.5 + score / np.maximum(slope, 0.25) / width, 0, 1)


def _tissues(
    known: np.ndarray, folds: np.ndarray, build: Build, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fractions of CSF, grey and white matter that sum to 1, the hull not yet applied."""
    log_white, log_csf, depth, _, deep, cortex = known
    sheet, wide, other, _ = folds
    thickness = build.cortical_thickness_mm + 0.3 * wide
    half_width = build.sulcal_width_mm / 2 + 0.3 * other
    reach = build.sulcal_depth_mm + 4 * wide
    # Distance from CSF: the outer surface, or a sulcal sheet as deep as sulci go.
    distance = np.minimum(depth - 0.3, np.maximum(np.abs(sheet) - half_width, depth - reach))
    distance = np.clip(distance, -3, 6)
    white_score = 0.8 * log_white + 0.7 + 1.5 * (distance - thickness) * cortex
    csf_score = 0.4 * np.maximum(log_csf, -3) - 4 * np.clip(distance, -1, 1) * cortex
    csf_score -= np.maximum(log_white - 1, 0) * cortex
    csf = _edge(csf_score, step, step)
    white = (1 - csf) * _edge(white_score, step, step + 0.8)

    # Deep down, nuclei and tracts blend as in the template; only the ventricles are sharp.
    p_white = expit(log_white)
    p_grey = np.clip(1 - p_white - expit(log_csf), 0.01, 1)
    ratio = (p_grey / p_white) ** 1.5
    deep_csf = _edge(log_csf, step, step)
    csf += deep * (deep_csf - csf)
    white += deep * ((1 - deep_csf) / (1 + ratio) - white)
    return csf, 1 - csf - white, white


def _average(fine: np.ndarray, factor: int) -> np.ndarray:
    """Means over cubes of ``factor`` voxels along the last three axes."""
    if factor == 1:
        return fine
    return functional.avg_pool3d(torch.from_numpy(fine)[None], factor)[0].numpy()


def _layers(
    rng: np.random.Generator, outside: np.ndarray, swell: np.ndarray, step: float
) -> dict[str, np.ndarray]:
    """Fractions of the layers around the brain, from the distance outside it in mm.

    Their thickness varies with ``swell``, a field of zero mean and unit variance.
    """
    fractions = dict.fromkeys(("csf", *HEAD), np.float32(0))
    edge = np.clip(0.5 + outside / step, 0, 1)
    reach = np.zeros((), np.float32)
    for tissue, low, high in _LAYERS:
        reach = reach + rng.uniform(low, high) * np.clip(1 + 0.25 * swell, 0.3, 2)
        following = np.clip(0.5 + (outside - reach) / step, 0, 1)
        fractions[tissue] = fractions[tissue] + edge - following
        edge = following
    return fractions


def build_anatomy(
    seed: int, spacing: float, *, lesions: bool = False, head: bool = False
) -> Anatomy:
    """The anatomy of one person.

    Parameters
    ----------
    seed : int
        Of the person; lesions and head have their own streams and change nothing else.
    spacing : float
        Of the output lattice, in mm; from 2 mm on, tissues are found at half of it and averaged.
    lesions, head : bool
        Whether there are white-matter lesions, and skull, muscle, fat and skin.

    Returns
    -------
    Anatomy
    """
    known = template()
    rng = stream(seed, "anatomy")
    build = Build.draw(rng)
    place = _Place.of(build, displacement(rng, build.ventricle_growth_mm))
    folds = _folds(stream(seed, "folds"))

    count = np.floor(known.extent / spacing).astype(int) + 1
    start = (known.extent - (count - 1) * spacing) / 2
    hull = _sample(known.maps[:, 3:4], torch.from_numpy(place.coarse)[None])[0].numpy()
    near = (np.argwhere(hull < (30 if head else 4)) * _WARP_STEP - start) / spacing
    low = np.maximum(np.floor(near.min(0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(near.max(0)) + 2, count).astype(int)

    factor = 2 if spacing >= 2 else 1
    step = spacing / factor
    first = start + low * spacing - (factor - 1) / 2 * step
    where = place(first, step, (high - low) * factor)
    maps, fields = _sample(known.maps, where).numpy(), _sample(folds, where).numpy()
    wide, fine = fields[1], fields[3]
    csf, grey, white = _tissues(maps, fields, build, step)
    brain, lesion_count = [csf, grey, white, np.zeros_like(csf)], 0
    if lesions:
        drawn = Lesions.draw(stream(seed, "lesions"))
        lesion_count = drawn.count
        inside = _sample(drawn.distance, where)[0].numpy() + 0.6 * fine
        brain[3] = white * np.clip(0.5 + inside / step, 0, 1)
        brain[2] = white - brain[3]
    outside = maps[3] - build.mask_shift_mm - 0.4 * wide
    fractions = _average(np.stack(brain) * np.clip(0.5 - outside / step, 0, 1), factor)
    mask = fractions.sum(0) > 0.5
    csf, grey, white, lesion = fractions
    labels = np.stack([csf, grey, white + lesion]).argmax(0) + 1
    labels[(labels == 3) & (lesion > white)] = 4
    millilitres = fractions.sum((1, 2, 3), dtype=np.float64) * spacing**3 / 1000
    around = np.zeros((len(HEAD), *mask.shape), np.float32)
    if head:
        head_rng = stream(seed, "head")
        swell = smooth_noise(head_rng, known.shape(_WARP_STEP), 24 / _WARP_STEP)
        swell = _sample(torch.from_numpy(swell)[None, None], where)[0].numpy()
        layers = _layers(head_rng, outside, swell, step)
        around = _average(np.stack([layers[tissue] for tissue in ("csf", *HEAD)]), factor)
        fractions[0] += around[0]
        around = around[1:]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = known.origin + start
    return Anatomy(
        shape=tuple(int(n) for n in count),  # type: ignore[arg-type]
        affine=affine,
        box=tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)),  # type: ignore[arg-type]
        fractions=np.concatenate([fractions, around]),
        mask=mask,
        labels=(labels * mask).astype(np.int16),
        texture=_average(fine[None], factor)[0],
        volumes=dict(zip(BRAIN, millilitres.tolist(), strict=True)),
        build=build,
        lesion_count=lesion_count,
    )
