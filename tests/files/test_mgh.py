"""Volumes of FreeSurfer: read as the same scan in NIfTI, refused where they are damaged."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.errors import CaseError

AFFINE = np.array([[0, 0, -1.5, 40], [-1.0, 0, 0, 30], [0, 1.2, 0, -20], [0, 0, 0, 1]])
VALUES = np.random.default_rng(0).uniform(0, 900, (6, 5, 4)).astype(np.float32)


def save(path, array=VALUES, affine=AFFINE):
    nib.MGHImage(array, affine).to_filename(path)
    return path


@pytest.mark.parametrize("ending", [".mgz", ".mgh", ".MGZ"])
@pytest.mark.parametrize("kind", [np.float32, np.int32, np.int16, np.uint8])
def test_it_is_read_as_the_same_scan_in_nifti(tmp_path, ending, kind):
    array = (VALUES / 4).astype(kind)
    path = save(tmp_path / "T1w.mgz", array)
    if ending == ".mgh":
        path = tmp_path / "T1w.mgh"
        path.write_bytes(gzip.decompress((tmp_path / "T1w.mgz").read_bytes()))
    elif ending == ".MGZ":
        path = path.rename(tmp_path / "T1w.MGZ")
    nib.Nifti1Image(array, AFFINE).to_filename(tmp_path / "T1w.nii.gz")
    found, same = files.read(path), files.read(tmp_path / "T1w.nii.gz")
    np.testing.assert_array_equal(found.array, same.array)
    np.testing.assert_allclose(found.affine, same.affine, atol=1e-4)
    assert (found.modality, found.orientation) == ("T1w", same.orientation)


def test_a_label_map_is_read(tmp_path):
    labels = np.random.default_rng(1).integers(0, 60, (6, 5, 4)).astype(np.int32)
    found = files.read_labels(save(tmp_path / "aseg.mgz", labels))
    np.testing.assert_array_equal(found.array, labels)


def flag(content):
    """Without the flag that the position is known, which stands after seven integers."""
    changed = bytearray(gzip.decompress(content))
    struct.pack_into(">h", changed, 28, 0)
    return gzip.compress(bytes(changed))


def shape(content):
    changed = bytearray(gzip.decompress(content))
    struct.pack_into(">3i", changed, 4, 30000, 30000, 30000)
    return gzip.compress(bytes(changed))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:60], "damaged or truncated"),
        (lambda content: gzip.compress(gzip.decompress(content)[:400]), "damaged or truncated"),
        (lambda content: b"", "damaged or truncated"),
        (lambda content: b"no image at all", "damaged or truncated"),
        (lambda content: gzip.compress(b"\0" * 300), "cannot be read|has shape"),
        (shape, "damaged or truncated"),
        (flag, "does not tell where its voxels lie"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, damage, told):
    path = save(tmp_path / "a.mgz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CaseError, match=told) as raised:
        files.read(path)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"-i {path}: ")


def test_several_volumes_are_refused(tmp_path):
    path = save(tmp_path / "a.mgz", np.stack([VALUES] * 3, axis=-1))
    with pytest.raises(CaseError, match="holds 3 volumes"):
        files.read(path)


def test_it_is_not_written(tmp_path):
    volume = files.read(save(tmp_path / "a.mgz"))
    with pytest.raises(CaseError, match="only read"):
        files.write(volume, tmp_path / "b.mgz")
    assert not (tmp_path / "b.mgz").exists()
