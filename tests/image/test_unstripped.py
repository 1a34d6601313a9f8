"""A skull is noticed in whole volumes, slabs and single slices; a stripped brain is none."""

import numpy as np
import pytest
from scipy import ndimage

from chiasm.image.foreground import foreground_mask, looks_unstripped
from chiasm.image.volume import Volume
from chiasm.phantom import Settings

SHAPE, SPACING = (90, 110, 60), (2.0, 2.0, 3.0)
INDEX = (np.indices(SHAPE).T - (np.array(SHAPE) - 1) / 2) * SPACING


def ellipsoid(*radii):
    return ((INDEX / radii) ** 2).sum(-1).T <= 1


BRAIN, INNER, OUTER, HEAD = (
    ellipsoid(62, 80, 60), ellipsoid(65, 83, 63), ellipsoid(70, 88, 68), ellipsoid(76, 94, 74),
)  # fmt: skip


def tissue(contrast):
    """Ventricles, white matter in folds, grey matter, and cerebrospinal fluid outside."""
    csf, grey, white = {"T1w": (150, 500, 700), "T2w": (1500, 700, 500), "FLAIR": (80, 600, 500)}[
        contrast
    ]
    folds = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2)
    inner = ndimage.binary_erosion(BRAIN, iterations=3) & (folds > -0.02)
    image = np.where(BRAIN, grey, csf).astype(float)
    image[inner] = white
    image[ellipsoid(12, 25, 12)] = csf
    return image


def rician(signal, sigma=12):
    real, imaginary = np.random.default_rng(1).normal(0, sigma, (2, *SHAPE))
    return np.hypot(signal + real, imaginary)


def whole_head(contrast, noise):
    image = np.where(INNER, tissue(contrast), 40.0)
    image[HEAD & ~OUTER] = 900 if contrast == "T1w" else 400
    image[~HEAD] = 0
    image = ndimage.gaussian_filter(image, 0.5)
    return rician(image) if noise else np.where(ndimage.binary_dilation(HEAD), image, 0)


def stripped(contrast):
    return np.where(INNER, rician(ndimage.gaussian_filter(tissue(contrast), 0.5)), 0)


def slab(array, axis, slices):
    middle = SHAPE[axis] // 2
    part = np.take(array, np.arange(middle - slices // 2, middle - slices // 2 + slices), axis)
    return Volume(part, np.diag([*SPACING, 1.0]))


CONTRASTS = pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR"])
SLABS = pytest.mark.parametrize(
    ("axis", "slices"), [(2, 60), (2, 12), (2, 6), (2, 3), (2, 1), (0, 6), (1, 6), (0, 1), (1, 1)]
)


@CONTRASTS
@SLABS
@pytest.mark.parametrize("noise", [True, False])
def test_a_head_is_noticed(contrast, axis, slices, noise):
    assert looks_unstripped(slab(whole_head(contrast, noise), axis, slices))


@CONTRASTS
@SLABS
def test_a_stripped_brain_is_not_called_a_head(contrast, axis, slices):
    assert not looks_unstripped(slab(stripped(contrast), axis, slices))


@CONTRASTS
def test_a_stripped_slab_that_is_cut_close_is_not_called_a_head(contrast):
    box = tuple(slice(s.start - 2, s.stop + 2) for s in ndimage.find_objects(INNER.astype(int))[0])
    array = stripped(contrast)[box[0], box[1], 28:31]
    assert not looks_unstripped(Volume(array, np.diag([*SPACING, 1.0])))


@CONTRASTS
def test_a_brain_mask_that_is_given_for_a_noisy_head_decides(contrast):
    for slices in (60, 6):
        volume = slab(whole_head(contrast, True), 2, slices)
        inside = slab(INNER, 2, slices).array > 0
        assert not looks_unstripped(volume, inside)


@pytest.mark.parametrize("slices", [1, 6])
def test_bone_tells_in_a_ct(slices):
    image = np.where(INNER, 35.0, -1000)
    without = slab(image, 2, slices)
    image = np.where(OUTER & ~INNER, 900.0, image)
    image[HEAD & ~OUTER] = 20
    whole = slab(image, 2, slices)
    as_ct = [Volume(one.array, one.affine, modality="CT") for one in (without, whole)]
    assert [looks_unstripped(one) for one in as_ct] == [False, True]


@CONTRASTS
@pytest.mark.parametrize("step", [3, 6, 10, 20])
def test_slices_that_are_far_apart(contrast, step):
    """As of a localiser: 9 to 60 mm between the slices."""
    affine = np.diag([*SPACING[:2], step * SPACING[2], 1.0])
    head, brain = (
        Volume(array[:, :, step // 2 :: step], affine)
        for array in (whole_head(contrast, True), stripped(contrast))
    )
    assert looks_unstripped(head)
    assert not looks_unstripped(brain, brain.array > 0)


def test_an_empty_mask_is_no_head():
    volume = slab(stripped("T1w"), 2, 6)
    assert not looks_unstripped(volume, np.zeros(volume.shape, bool))


@pytest.fixture(scope="module", params=[False, True], ids=["brain", "head"])
def simulated(request, tmp_path_factory):
    from chiasm import files
    from chiasm.files import find
    from chiasm.phantom import write_dataset

    folder = tmp_path_factory.mktemp("phantom")
    settings = Settings(modalities=("T1", "PD"), spacing=2.0, head=request.param)
    write_dataset(folder, 1, 0, settings)
    return request.param, [files.read(path) for path in find.find_images(folder)]


@pytest.mark.parametrize("slices", [1, 6, None])
def test_the_simulated_subjects(simulated, slices):
    head, volumes = simulated
    for volume in volumes:
        box = ndimage.find_objects(foreground_mask(volume).astype(int))[0][2]
        middle = (box.start + 2 * box.stop) // 3
        cut = slice(None) if slices is None else slice(middle, middle + slices)
        part = Volume(volume.array[:, :, cut], volume.affine, modality=volume.modality)
        assert looks_unstripped(part) is head
