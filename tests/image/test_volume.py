"""Volumes and label maps: what they say of themselves, and what they refuse to be."""

import nibabel as nib
import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import TISSUES, LabelVolume, Volume

AFFINE = nib.affines.from_matvec([[0, -0.7, 0], [0, 0, 3.0], [0.7, 0, 0]], [1, 2, 3])
ARRAY = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
def test_a_lattice_describes_itself(kind):
    volume = kind(ARRAY, AFFINE)
    assert volume.shape == (2, 3, 4)
    assert volume.spacing == pytest.approx((0.7, 0.7, 3))
    assert volume.orientation == "SLA"
    for part in ("2×3×4", "0.7×0.7×3 mm", "SLA"):
        assert part in repr(volume)


def test_arrays_take_one_type():
    assert Volume(ARRAY.astype(np.int64), AFFINE).array.dtype == np.float32
    assert LabelVolume(ARRAY, AFFINE).array.dtype == np.int16
    assert LabelVolume(ARRAY > 3, AFFINE).array.max() == 1


def test_units_follow_the_modality_unless_given():
    assert Volume(ARRAY, AFFINE, modality="CT").units == "HU"
    assert Volume(ARRAY, AFFINE, modality="T1w").units == "a.u."
    assert Volume(ARRAY, AFFINE, modality="T1map", units="ms").units == "ms"


def test_another_array_on_the_same_lattice():
    volume = Volume(ARRAY, AFFINE, modality="PDw")
    other = volume.with_array(ARRAY * 2, modality="T1w")
    assert other.same_grid(volume)
    assert (other.modality, other.array[1, 2, 3]) == ("T1w", 46)
    assert volume.array[1, 2, 3] == 23


def test_the_same_grid_means_shape_and_affine():
    volume = Volume(ARRAY, AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 0.01
    assert volume.same_grid(LabelVolume(ARRAY, AFFINE + 1e-5 * (AFFINE != 0)))
    assert not volume.same_grid(Volume(ARRAY, moved))
    assert not volume.same_grid(Volume(ARRAY[:, :2], AFFINE))


def test_the_affine_is_a_copy_that_cannot_be_changed():
    affine = AFFINE.copy()
    volume = Volume(ARRAY, affine)
    affine[:] = 0
    np.testing.assert_array_equal(volume.affine, AFFINE)
    with pytest.raises(ValueError):
        volume.affine[0, 0] = 9


SINGULAR = np.diag([1.0, 1.0, 0.0, 1.0])
FLAT = nib.affines.from_matvec([[1, 1, 0], [0, 0, 0], [0, 0, 1]], [0, 0, 0])


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
@pytest.mark.parametrize("affine", [SINGULAR, FLAT, np.eye(3), AFFINE * np.nan])
def test_an_affine_without_an_inverse_is_refused(kind, affine):
    with pytest.raises(CaseError, match="affine"):
        kind(ARRAY, affine)


def test_a_small_spacing_is_not_singular():
    assert Volume(ARRAY, np.diag([1e-4, 1e-4, 1e-4, 1])).spacing == pytest.approx((1e-4,) * 3)


@pytest.mark.parametrize(
    "array",
    [
        ARRAY[0],
        ARRAY[None],
        ARRAY + 1j,
        np.where(ARRAY == 3, np.nan, ARRAY),
        np.where(ARRAY == 3, np.inf, ARRAY),
        np.full((2, 2, 2), 1e300),  # infinite as float32
        np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]),
    ],
    ids=["2D", "4D", "complex", "NaN", "Inf", "overflow", "RGB"],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_is_no_scalar_image_is_refused(array):
    with pytest.raises(CaseError) as caught:
        Volume(array, AFFINE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("array", [ARRAY[0], ARRAY / 2, np.where(ARRAY == 3, np.nan, ARRAY)])
def test_what_is_no_label_map_is_refused(array):
    with pytest.raises(CaseError):
        LabelVolume(array, AFFINE)


def test_the_tissue_convention():
    assert [(label.value, label.name) for label in TISSUES] == [
        (0, "background"), (1, "csf"), (2, "grey"), (3, "white"), (4, "lesion"),
    ]  # fmt: skip
    assert LabelVolume(ARRAY, AFFINE).labels == TISSUES
