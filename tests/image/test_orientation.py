"""All 48 storage orders: a turn moves no voxel in the world, and turning back is the identity."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from chiasm.image.orientation import Turn
from chiasm.image.volume import LabelVolume, Volume

SHAPE = (4, 5, 6)
ORDERS = [
    np.array([*zip(axes, signs, strict=True)])
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


def rotation(degrees, axis):
    angle, (a, b) = np.deg2rad(degrees), [k for k in range(3) if k != axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


# Isotropic; anisotropic; oblique about every axis and anisotropic, as a scanner's slices are.
AFFINES = {
    "isotropic": np.eye(3),
    "anisotropic": np.diag([0.9, 1.1, 5.0]),
    "oblique": rotation(12, 0) @ rotation(-17, 1) @ rotation(9, 2) @ np.diag([0.9, 1.2, 5.0]),
}


def stored(order, matrix):
    """A volume in a storage order, and the same in canonical order, by nibabel."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, (-31.5, 12.25, 7)
    array = np.random.default_rng(0).permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    image = nib.Nifti1Image(array, affine).as_reoriented(order)
    volume = Volume(np.asarray(image.dataobj), image.affine, modality="T1w")
    return volume, nib.as_closest_canonical(image)


def test_there_are_48_orders():
    volumes = [stored(order, AFFINES["isotropic"])[0] for order in ORDERS]
    assert len({volume.orientation for volume in volumes}) == 48


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order.ravel())))
def test_forth_is_nibabels_and_back_is_the_identity(order, matrix):
    volume, canonical = stored(order, matrix)
    turn = Turn.of(volume)
    turned = turn.image(volume)
    np.testing.assert_array_equal(turned.array, np.asarray(canonical.dataobj))
    np.testing.assert_allclose(turned.affine, canonical.affine, atol=1e-9)
    assert turned.orientation == "RAS"
    assert turned.modality == "T1w"
    # Voxel by voxel: each value lies where it lay.
    for value in (0, 17, 119):
        places = [
            apply_affine(one.affine, np.argwhere(one.array == value)[0]) for one in (volume, turned)
        ]
        np.testing.assert_allclose(*places, atol=1e-9)
    back = turn.image_back(turned, volume)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.array.flags.c_contiguous
    np.testing.assert_array_equal(back.affine, volume.affine)
    np.testing.assert_array_equal(turn.array_back(turn.array(volume.array)), volume.array)


def test_a_result_in_canonical_order_takes_the_scans_own_affine():
    """And not one that rounding has changed on the way."""
    volume, _ = stored(ORDERS[29], AFFINES["oblique"])
    turn = Turn.of(volume)
    labels = LabelVolume(
        (turn.image(volume).array > 60).astype(np.uint8), turn.image(volume).affine, labels=()
    )
    back = turn.image_back(labels, volume)
    assert back.same_grid(volume)
    np.testing.assert_array_equal(back.array, volume.array > 60)
