"""Random heads from label maps: shape, ageing, lesions, tumours, and the brain mask.

A head is drawn from the label map of a real person. It is turned, scaled, bent and aged, and may
get disease. Only a box of the head is made, on any isotropic grid, so that a training can draw a
new box for every iteration. The maps hold positions in `chiasm.phantom.structures.STRUCTURES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from chiasm.errors import CaseError, explain
from chiasm.phantom.structures import (
    BRAIN_TISSUES,
    STRUCTURES,
    index_of,
    of_tissue,
    structures_of,
)

# Displacements are computed on a lattice of this step and interpolated, in mm.
_STEP = 4
# The depth of the cortex is stored in whole numbers of this unit, in mm.
_DEPTH_UNIT = 0.05
# Standard deviation of the cortical thickness within one brain, in mm.
_THICKNESS_SPREAD = 0.3
# The largest share of the cortical thickness that atrophy takes.
_LOST = 0.35
_VENTRICLE_BLUR = 5.0  # mm


class HeadSettings(BaseModel):
    """How much the heads differ from the label maps. Probabilities lie in [0, 1].

    Parameters
    ----------
    rotation, shear : float
        Largest rotation about each axis, in degrees, and largest shear.
    scale : float
        Largest change of the size along each axis, as a share.
    bending : float
        Standard deviation of the displacement at the scale of a lobe, in mm; that at the scale of
        a gyrus is a third of it.
    ventricles : float
        Largest distance by which the walls of the ventricles are pushed outwards, in mm. They are
        pulled inwards by up to a third of it.
    cortical_thickness : tuple of two floats
        Range of the mean thickness of a brain's cortex, in mm. Label maps fill most sulci with
        cortex, because the banks of a sulcus touch at their resolution. Cortex that is farther from
        white matter than the thickness becomes CSF, so that sulci hold CSF as in real scans.
    atrophy : float
        Probability of a cortex that is up to a third thinner, with wider sulci.
    lesions, tumour, resection : float
        Probability of white-matter lesions, of a tumour with oedema, and of a resection cavity.
    stripped : float
        Probability that everything outside the brain is removed.
    varied : bool
        In a training, whether each target image has the contrast of a random scan of the target
        modality. Otherwise all have the same contrast, which a translator can learn exactly.
    slab : int
        In a training on slices, the number of slices that are drawn at once. Each sample is a
        random one of them.
    reuse : int
        In a training, the number of samples that are made of one head, with different contrasts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rotation: float = Field(default=15.0, ge=0, le=180)
    shear: float = Field(default=0.01, ge=0, lt=1)
    scale: float = Field(default=0.15, ge=0, lt=1)
    bending: float = Field(default=2.5, ge=0)
    ventricles: float = Field(default=5.0, ge=0)
    cortical_thickness: tuple[PositiveFloat, PositiveFloat] = (1.6, 2.9)
    atrophy: float = Field(default=0.3, ge=0, le=1)
    lesions: float = Field(default=0.35, ge=0, le=1)
    tumour: float = Field(default=0.12, ge=0, le=1)
    resection: float = Field(default=0.03, ge=0, le=1)
    stripped: float = Field(default=0.5, ge=0, le=1)
    varied: bool = False
    slab: int = Field(default=1, ge=1)
    reuse: int = Field(default=2, ge=1)

    @field_validator("cortical_thickness")
    @classmethod
    def _is_a_range(cls, thickness: tuple[float, float]) -> tuple[float, float]:
        if thickness[0] > thickness[1]:
            raise ValueError("the first number must not exceed the second")
        return thickness


@dataclass(frozen=True)
class LabelMap:
    """The head of one person, as structures, in RAS+ order.

    Attributes
    ----------
    structures : uint8 array, shape (X, Y, Z)
        Cropped to the head.
    spacing : tuple of three floats
        Voxel size in mm.
    name : str
    """

    structures: np.ndarray
    spacing: tuple[float, float, float]
    name: str

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of voxels of each structure."""
        return np.bincount(self.structures.ravel(), minlength=len(STRUCTURES))

    @cached_property
    def brain_points(self) -> np.ndarray:
        """A sample of the brain's voxels, in mm from the first voxel: (N, 3)."""
        return self._points(BRAIN_TISSUES)

    @cached_property
    def head_points(self) -> np.ndarray:
        """A sample of the other voxels of the head, in mm from the first voxel: (N, 3)."""
        return self._points(("head",))

    @cached_property
    def depth(self) -> np.ndarray:
        """Distance of each voxel of the cortex from the border of other brain tissue.

        The border lies half a voxel beyond the middle of the nearest voxel of that tissue. In units
        of 0.05 mm, at most 255, and 0 outside the cortex: uint8, shape (X, Y, Z).
        """
        cortex = self.structures == index_of("cortex")
        depth = np.zeros(self.structures.shape, np.uint8)
        other = np.isin(self.structures, of_tissue("grey", "white", "lesion")) & ~cortex
        if not cortex.any() or not other.any():
            return depth
        brain = cortex | other  # the rest of the map takes most of the time
        inside = [np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        box = tuple(slice(int(one[0]), int(one[-1]) + 1) for one in inside)
        distance = ndimage.distance_transform_edt(~other[box], sampling=self.spacing)
        beyond = distance - np.mean(self.spacing) / 2
        units = np.clip(np.rint(beyond / _DEPTH_UNIT), 0, 255).astype(np.uint8)
        depth[box] = units * cortex[box]
        return depth

    def deeper(self, thickness: float) -> int:
        """Number of voxels of the cortex that lie deeper than a thickness in mm."""
        return int((self.depth * _DEPTH_UNIT > thickness).sum())

    def _points(self, tissues: tuple[str, ...]) -> np.ndarray:
        chosen = np.isin(self.structures[::3, ::3, ::3], of_tissue(*tissues))
        return np.argwhere(chosen)[::7] * 3.0 * np.array(self.spacing)

    @property
    def lattice_step(self) -> list[int]:
        """Voxels between two points of the lattice of `outwards`, which are about 4 mm apart."""
        return [max(1, round(_STEP / size)) for size in self.spacing]

    @cached_property
    def outwards(self) -> Tensor:
        """Direction away from the ventricles on a lattice, at most 1 long: (1, 3, …)."""
        step = self.lattice_step
        inside = (self.structures == index_of("ventricles")).astype(np.float32)
        blurred = ndimage.gaussian_filter(inside, [_VENTRICLE_BLUR / s for s in self.spacing])
        coarse = blurred[:: step[0], :: step[1], :: step[2]]
        apart = [n * size for n, size in zip(step, self.spacing, strict=True)]
        slope = -np.stack(np.gradient(coarse, *apart))
        slope /= max(float(np.sqrt((slope**2).sum(0)).max()), 1e-6)
        return torch.from_numpy(slope[None])


def read_label_map(path: Path) -> LabelMap:
    """Read a label map with FreeSurfer labels.

    Raises
    ------
    CaseError
        The file cannot be read, or it holds an unknown label or nothing but air.
    """
    from chiasm import files
    from chiasm.image.orientation import Turn

    stored = files.read_labels(path)
    turned = Turn.of(stored).image(stored)
    structures = structures_of(np.asarray(turned.array), path)
    if not structures.any():
        legal = "a label map with FreeSurfer labels"
        raise CaseError(explain("--anatomies", path, "holds no head", legal))
    inside = [np.flatnonzero(structures.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(int(one[0]), int(one[-1]) + 1) for one in inside)
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(turned.affine))
    return LabelMap(np.ascontiguousarray(structures[box]), spacing, path.name)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Head:
    """A box of a random head.

    Attributes
    ----------
    structures : uint8 Tensor, shape (X, Y, Z)
        Positions in `STRUCTURES`, complete with skull and skin.
    brain : bool Tensor, shape (X, Y, Z)
        A brain mask as a brain extraction makes it: the brain and some of the CSF around it.
    """

    structures: Tensor
    brain: Tensor


class Draw:
    """Random numbers of one head, all from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(torch.rand((), generator=self.generator)) * (high - low) + low

    def each(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def happens(self, probability: float) -> bool:
        return self.uniform() < probability

    def below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def field(self, shape: tuple[int, ...], scale: float) -> Tensor:
        """A smooth field of zero mean whose values vary over ``scale`` voxels, about ±1."""
        nodes = [max(2, round(n / scale) + 1) for n in shape]
        coarse = torch.randn((1, 1, *nodes), generator=self.generator)
        return functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[
            0, 0
        ]


def draw_head(
    source: LabelMap,
    shape: tuple[int, int, int],
    spacing: float,
    settings: HeadSettings,
    generator: torch.Generator,
    *,
    centred: bool = False,
) -> Head:
    """Draw a box of a random head.

    Parameters
    ----------
    source : LabelMap
    shape : tuple of three ints
        Shape of the box.
    spacing : float
        Size of its voxels, in mm.
    settings : HeadSettings
    generator : torch.Generator
        On the CPU. The same state gives the same head.
    centred : bool
        Whether the box is centred on the head, instead of a random place in it.
    """
    draw = Draw(generator)
    where = _positions(source, shape, spacing, settings, draw, centred=centred)
    nearest = _Nearest(source, where)
    structures = nearest.of(source.structures)
    sulci = _deep(nearest.of(source.depth), settings, draw)
    structures[sulci] = index_of("csf")
    _divide_soft_tissue(structures, spacing, draw)
    if draw.happens(settings.lesions):
        _white_matter_lesions(structures, spacing, draw)
    if draw.happens(settings.tumour):
        _tumour(structures, spacing, draw)
    if draw.happens(settings.resection):
        _resection(structures, spacing, draw)
    return Head(structures, brain_mask(structures, spacing, draw, sulci))


def _positions(
    source: LabelMap,
    shape: tuple[int, int, int],
    spacing: float,
    settings: HeadSettings,
    draw: Draw,
    *,
    centred: bool,
) -> Tensor:
    """The position in the label map of each voxel of the box, in mm: (3, X, Y, Z)."""
    if centred:
        # Positions count from the middle of the first voxel.
        last = np.subtract(source.structures.shape, 1)
        centre = torch.tensor(np.multiply(last, source.spacing) / 2)
    else:
        both = [source.brain_points, source.head_points]
        wanted_points, others = both if draw.happens(0.8) else both[::-1]
        points = wanted_points if len(wanted_points) else others
        low, high = points.min(axis=0), points.max(axis=0)
        # A box that is as long as the brain or the head lies on its middle.
        free = np.clip(1 - np.multiply(shape, spacing) / np.maximum(high - low, 1), 0, 1)
        middle = (low + high) / 2
        centre = torch.from_numpy(middle + free * (points[draw.below(len(points))] - middle))
    step = _STEP / spacing
    nodes = [int(np.ceil(n / step)) + 1 for n in shape]
    lines = [(torch.arange(n) - (n - 1) / 2) * _STEP for n in nodes]
    lattice = torch.stack(torch.meshgrid(*lines, indexing="ij")).double()
    turned = torch.tensordot(_matrix(settings, draw), lattice, dims=1)
    at = (turned + centre.view(3, 1, 1, 1)).float()
    for scale, share in ((30.0, 1.0), (10.0, 1 / 3)):
        strength = settings.bending * share * draw.uniform()
        bend = torch.stack([draw.field(tuple(nodes), scale / _STEP) for _ in range(3)])
        at = at + strength * bend
    growth = draw.uniform(-settings.ventricles / 3, settings.ventricles)
    for _ in range(2):  # two steps of the flow, so that large changes do not fold the brain
        at = at - growth / 2 * _sampled(source.outwards, at, source)
    # The corners of the lattice lie on a box of (nodes − 1) · 4 mm around the same centre.
    wanted = [
        torch.linspace(-1, 1, n) * (n - 1) * spacing / ((m - 1) * _STEP)
        for n, m in zip(shape, nodes, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*wanted, indexing="ij"), dim=-1).flip(-1)[None]
    return functional.grid_sample(at[None], grid, mode="bilinear", align_corners=True)[0]


def _matrix(settings: HeadSettings, draw: Draw) -> Tensor:
    """A random rotation, scale, shear and left–right reflection: (3, 3)."""
    angles = (draw.each(3) * settings.rotation).numpy()
    turn = torch.from_numpy(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
    common, each = draw.uniform(-1, 1), draw.each(3).double()
    size = 1 + settings.scale * (0.6 * common + 0.4 * each)
    shear = torch.eye(3).double() + settings.shear * draw.each(3, 3).double()
    size[0] *= -1 if draw.happens(0.5) else 1
    return turn @ shear @ torch.diag(1 / size)


def _sampled(field: Tensor, at: Tensor, source: LabelMap) -> Tensor:
    """A field on the lattice of `LabelMap.outwards` at positions in mm: (3, …), interpolated."""
    steps = zip(field.shape[2:], source.lattice_step, source.spacing, strict=True)
    extent = [max(1, n - 1) * step * size for n, step, size in steps]
    unit = at / torch.tensor(extent, dtype=at.dtype).view(3, 1, 1, 1) * 2 - 1
    grid = unit.permute(1, 2, 3, 0).flip(-1)[None]
    return functional.grid_sample(field, grid, padding_mode="border", align_corners=True)[0]


class _Nearest:
    """The nearest voxel of a label map at each position in mm: (3, X, Y, Z)."""

    def __init__(self, source: LabelMap, at: Tensor) -> None:
        self.index = torch.zeros(at.shape[1:], dtype=torch.int32)
        self.inside = torch.ones(at.shape[1:], dtype=torch.bool)
        shape = source.structures.shape
        for axis, (count, size) in enumerate(zip(shape, source.spacing, strict=True)):
            voxel = (at[axis] / size).round_()
            self.inside &= (voxel >= 0) & (voxel < count)
            self.index.mul_(count).add_(voxel.clamp_(0, count - 1).to(torch.int32))

    def of(self, values: np.ndarray) -> Tensor:
        """The values of these voxels; 0 outside the map."""
        return torch.from_numpy(values).view(-1)[self.index] * self.inside


def _deep(depth: Tensor, settings: HeadSettings, draw: Draw) -> Tensor:
    """Where the cortex is deeper than a random thickness, which varies a little in space: bool."""
    mean = draw.uniform(*settings.cortical_thickness)
    happens, lost = draw.happens(settings.atrophy), draw.uniform(0, _LOST)
    spread = _THICKNESS_SPREAD * draw.uniform(0, 2)
    local = mean * (1 - lost * happens) + spread * draw.field(tuple(depth.shape), 20)
    return depth * _DEPTH_UNIT > local


def _any_of(structures: Tensor, members: list[int]) -> Tensor:
    table = torch.zeros(len(STRUCTURES), dtype=torch.bool)
    table[members] = True
    return table[structures.long()]


def _near(inside: Tensor, reach: int = 1) -> Tensor:
    """Voxels in the cube of ``reach`` voxels around any voxel of a region: bool."""
    grown = inside
    for axis in range(inside.ndim):  # one axis after the other makes the cube
        before, grown, length = grown, grown.clone(), inside.shape[axis]
        for step in range(1, min(reach, length - 1) + 1):
            rest = length - step
            grown.narrow(axis, step, rest).logical_or_(before.narrow(axis, 0, rest))
            grown.narrow(axis, 0, rest).logical_or_(before.narrow(axis, step, rest))
    return grown


def _divide_soft_tissue(structures: Tensor, spacing: float, draw: Draw) -> None:
    """Make muscle of a part of the soft tissue that the label maps hold as one structure."""
    fat, shape = index_of("fat"), tuple(structures.shape)
    deep = draw.field(shape, 14 / spacing) + 0.7 * draw.field(shape, 5 / spacing)
    under_skin = _near(structures == index_of("skin"), max(1, round(2 / spacing)))
    muscle = (deep > draw.uniform(-0.6, 0.4)) & ~under_skin
    structures[(structures == fat) & muscle] = index_of("muscle")


def _blob(shape: tuple[int, ...], centre: Tensor, radii: Tensor, rough: Tensor) -> Tensor:
    """A ragged ellipsoid: bool. ``radii`` in voxels; ``rough`` moves its surface, as a share."""
    axes = [
        ((torch.arange(n) - c) / r) ** 2
        for n, c, r in zip(shape, centre.tolist(), radii.tolist(), strict=True)
    ]
    distance = axes[0].view(-1, 1, 1) + axes[1].view(1, -1, 1) + axes[2].view(1, 1, -1)
    return distance.sqrt() < 1 + rough


def _white_matter_lesions(structures: Tensor, spacing: float, draw: Draw) -> None:
    """Ragged lesions of 1 to 8 mm radius in white matter, half of them near the ventricles."""
    white, shape = structures == index_of("white matter"), tuple(structures.shape)
    sites = white.nonzero()
    if not len(sites):
        return
    beside = (white & _near(structures == index_of("ventricles"), round(8 / spacing))).nonzero()
    rough = 0.4 * draw.field(shape, 3 / spacing)
    lesion = torch.zeros(shape, dtype=torch.bool)
    for _ in range(1 + draw.below(16)):
        near = beside if len(beside) and draw.happens(0.5) else sites
        centre = near[draw.below(len(near))]
        radius = min(8.0, 2.4 * float(np.exp(0.5 * draw.uniform(-2, 2)))) / spacing
        radii = radius * draw.each(3, low=0.7, high=1.4)
        reach = int(radius * 2.5) + 2
        low = (centre - reach).clamp(min=0).tolist()
        high = [min(n, int(c) + reach + 1) for n, c in zip(shape, centre, strict=True)]
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        inner = tuple(b - a for a, b in zip(low, high, strict=True))
        lesion[part] |= _blob(inner, centre - torch.tensor(low), radii, rough[part])
    structures[lesion & white] = index_of("white-matter lesion")


def _focus(structures: Tensor, draw: Draw) -> Tensor | None:
    """A random voxel of the cerebrum; None if the box holds none."""
    cerebrum = structures == index_of("white matter")
    if draw.happens(0.3):
        cerebrum = structures == index_of("cortex")
    sites = cerebrum.nonzero()
    return sites[draw.below(len(sites))] if len(sites) else None


def _tumour(structures: Tensor, spacing: float, draw: Draw) -> None:
    """A mass with a necrotic core, and oedema that spreads in white matter."""
    centre, shape = _focus(structures, draw), tuple(structures.shape)
    if centre is None:
        return
    brain = _any_of(structures, of_tissue("grey", "white", "lesion"))
    white = _any_of(structures, of_tissue("white"))
    rough = 0.35 * draw.field(shape, 9 / spacing)
    size = draw.uniform(6, 24) / spacing
    radii = size * draw.each(3, low=0.7, high=1.3)
    oedema = _blob(shape, centre, radii * draw.uniform(1.2, 2.6), 1.3 * rough)
    structures[oedema & (white | (brain & (rough > 0.1)))] = index_of("oedema")
    if draw.happens(0.85):  # otherwise the mass is diffuse, as low-grade gliomas are
        structures[_blob(shape, centre, radii, rough) & brain] = index_of("tumour")
        if draw.happens(0.6):
            core = _blob(shape, centre, radii * draw.uniform(0.3, 0.8), rough)
            structures[core & brain] = index_of("necrosis")


def _resection(structures: Tensor, spacing: float, draw: Draw) -> None:
    """A cavity of 8 to 25 mm radius that is filled with CSF."""
    centre, shape = _focus(structures, draw), tuple(structures.shape)
    if centre is None:
        return
    radii = draw.uniform(8, 25) / spacing * draw.each(3, low=0.8, high=1.2)
    cavity = _blob(shape, centre, radii, 0.25 * draw.field(shape, 9 / spacing))
    brain = _any_of(structures, of_tissue("grey", "white", "lesion"))
    structures[cavity & brain] = index_of("csf")


def brain_mask(
    structures: Tensor, spacing: float, draw: Draw, sulci: Tensor | None = None
) -> Tensor:
    """A brain mask as a brain extraction makes it, with a random distance from the cortex: bool.

    The mean of the parenchyma over a cube of 3 to 9 mm is compared with a random share. A small
    share closes the sulci and adds CSF, a large one cuts into the cortex. The voxels of narrow
    ``sulci`` count as parenchyma, because a brain extraction does not cut into them.
    """
    inside = _any_of(structures, of_tissue("grey", "white", "lesion"))
    inside |= structures == index_of("ventricles")
    if sulci is not None:
        inside |= sulci
    reach = max(1, round(draw.uniform(1, 4) / spacing))
    share = draw.uniform(0.12, 0.5) if draw.happens(0.85) else draw.uniform(0.5, 0.62)
    mean = inside.float()[None, None]
    for axis, length in enumerate(structures.shape):  # a separable mean is faster than a cube
        size, pad = [1, 1, 1], [0, 0, 0]
        pad[axis] = min(reach, (length - 1) // 2)
        size[axis] = 2 * pad[axis] + 1
        # The head goes on beyond the faces of the box, so they count only what is inside.
        mean = functional.avg_pool3d(mean, size, 1, pad, count_include_pad=False)
    filled = (mean[0, 0] > share) | (inside & (mean[0, 0] > 0.75 * share))
    removed = [index_of(name) for name in ("spinal cord", "eye", "optic nerve", "air")]
    return filled & ~_any_of(structures, removed)
