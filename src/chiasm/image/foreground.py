"""The foreground of a scan, the intensity around it, and whether the scan is skull-stripped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel import orientations
from scipy import ndimage

from chiasm.image.foreground_search import border_value, find_foreground, largest_part
from chiasm.image.volume import Volume
from chiasm.machine.free_memory import check_fits

# Voxels below this value are air, in units that are absolute (air −1000 HU, fat −100 HU).
_AIR = {"HU": -500.0}
# Stripped brains measured up to 1.9 L and 206 cm² (the MNI152 template is a large one). Heads
# measured at least 2.6 L and 250 cm². These limits lie between the two:
_BRAIN_VOLUME = 2250.0  # mL
_BRAIN_SECTION = 230.0  # cm²
# The docstring of `looks_unstripped` gives the evidence for these limits.
_AIR_NOISE = 0.01  # share of the voxels outside that differ from the most frequent value there
_AIR_EDGE = (0.03, 0.065)  # of the foreground's median; below it, the outermost voxels are air
_DARK_RING = (0.35, 0.2)  # share of the outline that has a dark layer under it
_BONE = 300.0  # HU
_BONE_SHARE = 0.05  # of the foreground's outermost 15 mm
_RIM, _DEPTH = 20.0, 25.0  # mm below the outline: limit for a skull, and length of the profiles
_SECTORS, _SECTIONS = 72, 12
_FEWEST_DEPTHS = 4  # of a profile that can show a layer
_FOREGROUND_BYTES = 20  # per voxel at the peak; tracemalloc counted 8 to 19


def foreground_mask(volume: Volume) -> np.ndarray:
    """The foreground mask: the head, or the brain of a skull-stripped scan, with holes filled.

    If more than half of the outermost voxels have exactly the same value, the foreground is every
    voxel that differs from this value. Otherwise it is every voxel above a threshold: −500 HU in
    a CT, else the threshold of minimum cross-entropy (Li and Lee, Pattern Recognition 26:617,
    1993) of the slightly blurred scan. Only the largest connected part is kept.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    bool array, shape of the volume

    Raises
    ------
    CaseError
        There is not enough free memory.
    """
    check_fits(
        volume.array.size * _FOREGROUND_BYTES,
        "image",
        repr(volume),
        "for finding the foreground",
        "a coarser or smaller scan, or a computer with more memory",
    )
    return find_foreground(volume.array, _AIR.get(volume.units))


def background_value(volume: Volume) -> float:
    """The intensity around the foreground.

    This is the value that more than half of the outermost voxels have, or else the median of the
    voxels outside the foreground.
    """
    value = border_value(volume.array)
    if value is not None:
        return value
    outside = volume.array[~foreground_mask(volume)]
    return float(np.median(outside) if outside.size else volume.array.min())


def looks_unstripped(volume: Volume, mask: np.ndarray | None = None) -> bool:
    """Whether a volume, a slab or a single slice still contains skull and scalp.

    A scan counts as unstripped if one of these statements is true.

    1. The foreground is larger than a brain: above 2250 mL, or above 230 cm² in its largest axial
       section.
    2. The air has noise: more than 1 % of the voxels outside the foreground (two voxels away from
       it) differ from the most frequent value there. Skull stripping leaves one exact value
       outside. This statement is skipped if the voxels around the foreground are as bright as
       tissue, because the mask is then a brain mask that was given for a whole head.
    3. The outermost voxels of the foreground are air: their median is below 3 % of the
       foreground's median. A stripped scan ends in tissue or cerebrospinal fluid.
    4. A dark layer, the skull, lies under a brighter one along more than 35 % of the outline. The
       layer is less than 20 mm deep, and less than half as bright as the tissue on both sides.
    5. The median of the outermost voxels is below 6.5 % of the foreground's median, and along
       more than 20 % of the outline there is a layer that is darker than both sides by more than
       30 % of the foreground's median.

    In a CT, bone is bright. One statement then replaces 2 to 5: more than 5 % of the outermost
    15 mm are above 300 HU.

    The limits of 2 to 5 were chosen on 66 scans: T1, T2, PD and FLAIR of open_ms (3 sessions as
    scanned, 1 subject stripped), niivue, brainchop, BrainWeb, SPM12 templates, IBSR, BraTS, and
    simulated subjects with and without a head. Each scan was tested complete and as slabs of 1,
    3, 6 and 12 slices in three orientations at five heights.

    - Of 1525 pieces of whole heads, 96 % were detected, among them all 25 complete scans. Most of
      the others lay at the ends of the head, or cut across the slices of a FLAIR.
    - Of 2562 pieces of stripped scans, 1 was mistaken for a head, because of its size.
    - Some slabs were also cropped closely (6 voxels around the foreground, half of the scans). Of
      these, 221 of 234 pieces of heads were detected, and 4 of 378 stripped ones were mistaken
      for heads, all of them from a CT whose background is 0 HU.
    - One more scan is mistaken for a head: an average of stripped CTs with a blurred outline and
      a volume of 2389 mL.

    Parameters
    ----------
    volume : Volume
    mask : bool array, shape of the volume, optional
        The foreground. By default `foreground_mask` finds it.

    Returns
    -------
    bool
    """
    mask = foreground_mask(volume) if mask is None else mask
    if not mask.any():
        return False
    if _larger_than_a_brain(volume, mask):
        return True
    axis = _axis_of_sections(volume)
    array, inside = np.moveaxis(volume.array, axis, 2), np.moveaxis(mask, axis, 2)
    spacing = [step for k, step in enumerate(volume.spacing) if k != axis]
    areas = inside.sum(axis=(0, 1))
    large = np.flatnonzero(areas >= areas.max() / 2)
    some = large[np.linspace(0, len(large) - 1, min(_SECTIONS, len(large))).astype(int)]
    if volume.units in _AIR:
        return _has_bone(array[..., some], inside[..., some], spacing)
    air, noise = _air(array[..., some], inside[..., some])
    middle = float(np.median(array[inside]) - air)
    if middle <= 0:
        return False
    if noise > _AIR_NOISE:
        around = _surroundings(array[..., some], inside[..., some], spacing)
        if not around.size or np.percentile(around, 75) - air < middle / 5:
            exact = border_value(array, axes=(0, 1))
            if exact is None or border_value(array) is not None:
                return True
            # The end slices of a closely cropped slab are mostly head. The foreground was
            # therefore found by a threshold, which misses the darkest voxels of a stripped brain.
            inside = largest_part(array != exact)
            air, noise = _air(array[..., some], inside[..., some])
            if noise > _AIR_NOISE:
                return True
    edges, dark, dips = [], [], []
    for k in some:
        section = (array[..., k] - air) / middle
        # A foreground found by a threshold may reach beyond the exact outline of a stripped brain.
        part = ndimage.binary_fill_holes(inside[..., k] & (section != 0))
        profiles = _depth_profiles(section, part, spacing)
        if profiles is not None:
            edges.append(np.median(section[part & ~ndimage.binary_erosion(part)]))
            dark.append(_share_with_skull(*profiles, relative=True))
            dips.append(_share_with_skull(*profiles, relative=False))
    if not edges:
        return False
    edge, ring, dip = (float(np.median(one)) for one in (edges, dark, dips))
    at_air = edge < _AIR_EDGE[0] or (edge < _AIR_EDGE[1] and dip > _DARK_RING[1])
    return at_air or ring > _DARK_RING[0]


def _axis_of_sections(volume: Volume) -> int:
    """The axis across which sections are cut.

    Slabs are cut across their thickness. Slices that are far apart are taken as they are, because
    a section across them would show no layers.
    """
    sparse = int(np.argmax(volume.spacing))
    if _DEPTH / volume.spacing[sparse] < _FEWEST_DEPTHS:
        return sparse
    return int(np.argmin(np.multiply(volume.shape, volume.spacing)))


def _air(array: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """The most frequent value outside, and the share of the voxels there that differ from it.

    The two voxels nearest to the foreground are left out, because a rounded outline may lie there.
    """
    near = ndimage.binary_dilation(inside, np.ones((3, 3, 1)), iterations=2)
    values, counts = np.unique(array[~near], return_counts=True)
    if not values.size:
        return float(array.min()), 0.0
    return float(values[counts.argmax()]), float(1 - counts.max() / counts.sum())


def _larger_than_a_brain(volume: Volume, mask: np.ndarray) -> bool:
    turn = orientations.ornt_transform(
        nib.io_orientation(volume.affine), orientations.axcodes2ornt("RAS")
    )
    axial = int(np.flatnonzero(turn[:, 0] == 2)[0])
    in_plane = tuple(axis for axis in range(3) if axis != axial)
    voxel = abs(np.linalg.det(volume.affine[:3, :3]))
    pixel = voxel / volume.spacing[axial]
    section = mask.sum(axis=in_plane).max() * pixel / 100
    return bool(mask.sum() * voxel / 1000 > _BRAIN_VOLUME or section > _BRAIN_SECTION)


def _has_bone(array: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> bool:
    """Whether more than 5 % of the outermost 15 mm is bone; sections lie along the last axis."""
    depth = _distance(mask, spacing)
    rim = array[mask & (depth < 15)]
    return bool(rim.size and (rim > _BONE).mean() > _BONE_SHARE)


def _surroundings(array: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The values 2 to 15 mm outside the mask; sections lie along the last axis."""
    away = _distance(~mask, spacing)
    return array[(away > 2) & (away < 15)]


def _distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm to the nearest voxel outside the mask in the same section; 0 outside it."""
    sections = [
        ndimage.distance_transform_edt(part, sampling=spacing) for part in np.moveaxis(mask, -1, 0)
    ]
    return np.stack(sections, axis=-1)


def _depth_profiles(
    section: np.ndarray, mask: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, float] | None:
    """Mean intensity at each depth under the outline, for each sector of the outline.

    Parameters
    ----------
    section : array, shape (I, J)
    mask : bool array, shape (I, J)
        The foreground.
    spacing : two floats
        In mm.

    Returns
    -------
    profiles : array, shape (72 sectors, depths)
        NaN at depths that a sector does not reach.
    step : float
        Distance between two depths, in mm.
        The function returns None instead of both if the foreground is smaller than 15 cm², or the
        voxels are so large that a profile would have fewer than 4 depths.
    """
    if mask.sum() * math.prod(spacing) < 1500:
        return None
    mask, section = np.pad(mask, 1), np.pad(section, 1)
    depth, nearest = ndimage.distance_transform_edt(mask, sampling=spacing, return_indices=True)
    centre = ndimage.center_of_mass(mask)
    rim = mask & (depth < _DEPTH)
    x, y = ((nearest[k][rim] - centre[k]) * spacing[k] for k in range(2))
    sector = ((np.arctan2(y, x) + np.pi) / (2 * np.pi) * _SECTORS).astype(int) % _SECTORS
    step = max(1.0, *spacing)
    levels = int(_DEPTH / step)
    if levels < _FEWEST_DEPTHS:
        return None
    entry = sector * levels + np.minimum((depth[rim] / step).astype(int), levels - 1)
    counts = np.bincount(entry, minlength=_SECTORS * levels)
    sums = np.bincount(entry, section[rim], minlength=_SECTORS * levels)
    means = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means.reshape(_SECTORS, levels), step


def _share_with_skull(profiles: np.ndarray, step: float, *, relative: bool) -> float:
    """The share of profiles that have a dark layer between two brighter ones."""
    found = []
    for profile in profiles:
        known = np.flatnonzero(np.isfinite(profile))
        if known.size < _FEWEST_DEPTHS:
            continue
        line = np.interp(np.arange(profile.size), known, profile[known])
        outer = np.maximum.accumulate(line)[:-2]
        inner = np.maximum.accumulate(line[::-1])[::-1][2:]
        both, layer = np.minimum(outer, inner), line[1:-1]
        dark = layer < both / 2 if relative else both - layer > 0.3
        found.append(bool((dark & (both > 1e-6))[: int(_RIM / step)].any()))
    return float(np.mean(found)) if found else 0.0
