"""A volume owns its array: neither it nor its giver can change the other."""

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import LabelVolume, Volume

AFFINE = np.eye(4)
OWN_TYPE = {Volume: np.float32, LabelVolume: np.int16}
KINDS = pytest.mark.parametrize("kind", OWN_TYPE)


@KINDS
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float64, np.uint8])
def test_changing_what_was_given_changes_no_volume(kind, dtype):
    given = np.arange(24).reshape(2, 3, 4).astype(dtype)
    volume = kind(given, AFFINE)
    given[:] = 0
    np.testing.assert_array_equal(volume.array, np.arange(24).reshape(2, 3, 4))
    assert volume.array.dtype == OWN_TYPE[kind]


@KINDS
def test_a_volume_cannot_be_changed(kind):
    volume = kind(np.ones((2, 3, 4), OWN_TYPE[kind]), AFFINE)
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 5
    with pytest.raises(ValueError, match="read-only"):
        volume.array += 1


@KINDS
def test_the_array_of_another_volume_is_shared(kind):
    volume = kind(np.ones((2, 3, 4)), AFFINE)
    assert np.shares_memory(kind(volume.array, AFFINE).array, volume.array)
    part = kind(volume.array[:, 1:], AFFINE)  # a view of an array that nobody can change
    assert np.shares_memory(part.array, volume.array)


@KINDS
def test_a_read_only_view_of_what_can_be_changed_is_copied(kind):
    base = np.ones((2, 3, 4), OWN_TYPE[kind])
    view = base[:]
    view.setflags(write=False)
    volume = kind(view, AFFINE)
    base[:] = 0
    assert (volume.array == 1).all()


@KINDS
def test_another_librarys_memory_is_copied(kind):
    torch = pytest.importorskip("torch")
    tensor = torch.ones((2, 3, 4), dtype=torch.float32 if kind is Volume else torch.int16)
    volume = kind(tensor, AFFINE)
    tensor.zero_()
    assert (volume.array == 1).all()


def test_a_mapped_file_is_copied(tmp_path):
    mapped = np.memmap(tmp_path / "a", np.float32, "w+", shape=(2, 3, 4))
    mapped[:] = 1
    volume = Volume(mapped, AFFINE)
    mapped[:] = 0
    assert (volume.array == 1).all()
    assert type(volume.array) is np.ndarray


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint16, bool])
def test_whole_numbers_of_any_type_are_labels(dtype):
    array = np.array([0, 1, 1, 0], dtype).reshape(1, 2, 2)
    labels = LabelVolume(array, AFFINE)
    np.testing.assert_array_equal(labels.array, array.astype(int))


@pytest.mark.parametrize("value", [0.5, 1 + 1e-6, np.nan, np.inf, -np.inf, 40000, -40000, 1e30])
def test_what_is_no_label_is_refused_and_never_wraps_around(value):
    with pytest.raises(CaseError, match="labels array"):
        LabelVolume(np.array([0, value, 1, 0.0]).reshape(1, 2, 2), AFFINE)


def test_too_large_integers_are_refused():
    with pytest.raises(CaseError, match="-32768 to 32767"):
        LabelVolume(np.array([0, 70000]).reshape(1, 1, 2), AFFINE)
