"""Heads of known shape: found whole, alone, in every kind of surroundings."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from chiasm.image.foreground import background_value, foreground_mask, looks_unstripped
from chiasm.image.volume import Volume

SHAPE = (48, 56, 40)


def ellipsoid(radii, shape=SHAPE, centre=None):
    centre = (np.array(shape) - 1) / 2 if centre is None else centre
    index = np.indices(shape).T - centre
    return ((index / radii) ** 2).sum(axis=-1).T <= 1


def tissue(shape=SHAPE, seed=0):
    """Smooth intensities of 200 … 800."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return 500 + 300 * np.clip(noise / (3 * noise.std()), -1, 1)


def rician(signal, sigma, seed=1):
    real, imaginary = np.random.default_rng(seed).normal(0, sigma, (2, *signal.shape))
    return np.hypot(signal + real, imaginary)


def assert_covers(mask, truth):
    """All of the truth, and nothing more than two voxels away from it."""
    assert (mask & truth).sum() > 0.99 * truth.sum()
    assert not (mask & ~ndimage.binary_dilation(truth, iterations=2)).any()


HEAD = ellipsoid((18, 22, 15))


@pytest.mark.parametrize("background", [0.0, -7.0, 1000.0])
def test_whatever_differs_from_a_flat_background_is_head(background):
    array = np.where(HEAD, tissue(), background)
    array[22:26, 26:30, 18:22] = background  # a hole
    array[2:5, 2:5, 2:5] = 400  # something detached
    array[1, 50, 30] = 400
    volume = Volume(array, np.eye(4))
    np.testing.assert_array_equal(foreground_mask(volume), HEAD)
    assert background_value(volume) == background


def test_a_head_that_is_cut_by_the_border_is_found():
    cut = ellipsoid((18, 22, 30))
    array = np.where(cut, tissue(), 3)
    np.testing.assert_array_equal(foreground_mask(Volume(array, np.eye(4))), cut)


@pytest.mark.parametrize("sigma", [5, 20])
def test_a_head_in_noise_is_found(sigma):
    signal = np.where(HEAD, tissue(), 0)
    signal[ellipsoid((6, 4, 4))] = 0  # dark ventricles belong to it
    volume = Volume(rician(signal, sigma), np.eye(4))
    mask = foreground_mask(volume)
    assert_covers(mask, HEAD)
    assert mask[ellipsoid((6, 4, 4))].all()
    # the median of a Rayleigh distribution is σ √(2 ln 2)
    assert background_value(volume) == pytest.approx(sigma * np.sqrt(2 * np.log(2)), rel=0.1)


def test_a_scalp_that_is_smaller_than_the_brain_belongs_to_the_head():
    shape = (96, 104, 88)
    head = ellipsoid((44, 48, 40), shape)
    signal = np.where(head, tissue(shape), 0)
    signal[ellipsoid((41, 45, 37), shape) & ~ellipsoid((34, 38, 30), shape)] = 10  # the skull
    assert_covers(foreground_mask(Volume(rician(signal, 10), np.eye(4))), head)


def test_padding_around_a_noisy_scan_is_not_taken_for_its_background():
    scan = rician(np.where(HEAD, tissue(), 0), 15)
    padded = np.pad(scan, ((9, 20), (12, 6), (5, 7)), constant_values=1)
    truth = np.pad(HEAD, ((9, 20), (12, 6), (5, 7)))
    assert_covers(foreground_mask(Volume(padded, np.eye(4))), truth)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("noise", [0, 15])
def test_a_single_slice_is_searched_in_its_plane(axis, noise):
    middle = SHAPE[axis] // 2
    array = np.take(np.where(HEAD, tissue(), 0), [middle], axis=axis)
    truth = np.take(HEAD, [middle], axis=axis)
    array[np.take(ellipsoid((4, 4, 4)), [middle], axis=axis)] = 0  # a hole
    array = rician(array, noise) if noise else array
    mask = foreground_mask(Volume(array, np.eye(4)))
    assert mask.shape == array.shape
    assert_covers(mask, truth)
    assert noise or (mask == truth).all()


def test_a_head_in_a_ct_is_what_is_no_air():
    array = np.where(HEAD, 0.2 * tissue() - 50, -1000.0)
    array[ellipsoid((20, 24, 17)) & ~HEAD] = -100  # fat
    array[:3] = -1024  # outside the scanner's field of view
    array[:, 54:] = -300  # the table
    volume = Volume(array, np.eye(4), modality="CT")
    np.testing.assert_array_equal(foreground_mask(volume), ellipsoid((20, 24, 17)))


def test_an_image_without_a_head_has_an_empty_mask():
    assert not foreground_mask(Volume(np.full(SHAPE, 5.0), np.eye(4))).any()


# Half axes in mm of a large brain with its CSF (1.8 L, 198 cm²), and of a small adult head with
# scalp (2.8 L, 240 cm²).
BRAIN, SMALL_HEAD = (70, 90, 69), (80, 97, 86)
AFFINES = {
    "RAS": nib.affines.from_matvec(np.diag([2.0, 2, 4]), [0, 0, 0]),
    "coronal, left-handed": nib.affines.from_matvec([[-2, 0, 0], [0, 0, 4], [0, 2, 0]], [0, 0, 0]),
    "oblique": nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.2, 0.1, -0.2) @ np.diag([2, 2, 4]), [9, 9, 9]
    ),
}


@pytest.mark.parametrize("slab", [False, True])
@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize(("radii", "expected"), [(BRAIN, False), (SMALL_HEAD, True)])
def test_a_head_too_large_for_a_brain_is_said_to_be_unstripped(name, radii, expected, slab):
    shape, lengths = np.array([100, 110, 60]), np.array([2, 2, 4])
    axial = 1 if name.startswith("coronal") else 2
    if axial == 1:
        radii = np.array(radii)[[0, 2, 1]]
    mask = ellipsoid(np.array(radii) / lengths, tuple(shape))
    if slab:  # a few slices of it tell by their area
        mask &= np.abs(np.indices(mask.shape)[axial] - (shape[axial] - 1) / 2) < 4
    volume = Volume(np.where(mask, tissue(mask.shape), 0), AFFINES[name])
    assert looks_unstripped(volume) is expected
    assert looks_unstripped(volume, mask) is expected


@pytest.mark.parametrize(("radii", "expected"), [(BRAIN, False), (SMALL_HEAD, True)])
def test_one_axial_slice_tells_by_its_area(radii, expected):
    mask = ellipsoid((*radii[:2], 9), (181, 217, 1))
    volume = Volume(np.where(mask, tissue((181, 217, 1)), 0), np.diag([-1.0, -1, 5, 1]))
    assert looks_unstripped(volume) is expected


def test_a_brain_mask_given_for_an_unstripped_head_decides():
    mask = ellipsoid(np.array(SMALL_HEAD) / [2, 2, 4], (100, 110, 60))
    volume = Volume(np.where(mask, tissue((100, 110, 60)), 0), AFFINES["RAS"])
    brain = ellipsoid(np.array(BRAIN) / [2, 2, 4], (100, 110, 60))
    assert not looks_unstripped(volume, brain)
