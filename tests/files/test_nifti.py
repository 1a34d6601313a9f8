"""NIfTI: what is written is read back, geometry to the bit; what is no scan is refused."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chiasm import files
from chiasm.errors import CaseError, UsageError
from chiasm.files import nifti
from chiasm.image.volume import Label, LabelVolume, Volume

SHAPE = (7, 6, 5)


def matrix(linear, offset=(-11.5, 20.25, 3)):
    return nib.affines.from_matvec(np.asarray(linear, dtype=float), offset)


TILT = Rotation.from_euler("xyz", [20, -35, 12], degrees=True).as_matrix()
AFFINES = {
    "RAS": matrix(np.eye(3)),
    "LPS, anisotropic": matrix(np.diag([-0.7, -0.7, 4.0])),
    "permuted": matrix([[0, 0, 2.0], [1.5, 0, 0], [0, -1.0, 0]]),
    "oblique": matrix(TILT @ np.diag([1.0, 1.2, 3.0])),
    "sheared": matrix([[1, 0.3, 0], [0, 1, 0.2], [0, 0, 2.0]]),
}


def random_volume(affine=None, shape=SHAPE, **kwargs):
    array = np.random.default_rng(0).normal(100, 20, shape)
    return Volume(array, AFFINES["oblique"] if affine is None else affine, **kwargs)


def save(path: Path, array, affine=None, kind=nib.Nifti1Image) -> Path:
    nib.save(kind(array, AFFINES["RAS"] if affine is None else affine), path)
    return path


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("suffix", nifti.SUFFIXES)
def test_a_volume_comes_back_as_it_was_written(tmp_path, name, suffix):
    volume = random_volume(AFFINES[name])
    path = files.write(volume, tmp_path / f"new/folder/a_T1w{suffix}")
    back = files.read(path)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-5)
    assert back.modality == "T1w"
    assert nib.load(path).get_data_dtype() == np.float32
    assert nib.load(path).header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("name", AFFINES)
def test_readers_of_the_quaternion_see_the_same_place(tmp_path, name):
    header = nib.load(files.write(random_volume(AFFINES[name]), tmp_path / "a.nii")).header
    if name == "sheared":  # a quaternion cannot hold it
        assert header["qform_code"] == 0
    else:
        np.testing.assert_allclose(header.get_qform(), AFFINES[name], atol=1e-4)
    np.testing.assert_allclose(header.get_sform(), AFFINES[name], atol=1e-5)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 4), (0, 0)])
@pytest.mark.parametrize("shape", [(7, 6, 5), (7, 6, 5, 1), (7, 6, 5, 1, 1), (7, 6), (1, 7, 6)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_like_repeats_shape_and_geometry_of_the_input_exactly(tmp_path, codes, shape, kind):
    sform, qform = codes
    image = kind(np.random.default_rng(1).normal(size=shape).astype(np.float32), None)
    # In microns, as the units say; the header's own spacing counts where both codes are 0.
    microns = np.diag([1000.0, 1000, 1000, 1])
    image.header["pixdim"][1:4] = 1000
    image.header.set_sform(microns @ AFFINES["oblique"], sform)
    image.header.set_qform(microns @ AFFINES["permuted"], qform)
    image.header.set_xyzt_units("micron", "msec")
    nib.save(kind(image.dataobj, None, image.header), tmp_path / "in.nii.gz")
    source = nib.load(tmp_path / "in.nii.gz")

    volume = files.read(tmp_path / "in.nii.gz")
    assert volume.shape == (*shape, 1)[:3]
    files.write(volume, tmp_path / "out.nii.gz", like=tmp_path / "in.nii.gz")

    out = nib.load(tmp_path / "out.nii.gz")
    assert out.shape == source.shape
    np.testing.assert_array_equal(out.affine, source.affine)
    np.testing.assert_array_equal(out.get_fdata(), source.get_fdata())
    for field in (*nifti._GEOMETRY, "magic", "sizeof_hdr"):
        np.testing.assert_array_equal(out.header[field], source.header[field], err_msg=field)


def test_like_of_another_lattice_is_a_mistake(tmp_path):
    save(tmp_path / "in.nii", np.arange(210.0).reshape(5, 6, 7))
    with pytest.raises(ValueError, match="shape"):
        files.write(random_volume(), tmp_path / "out.nii", like=tmp_path / "in.nii")
    assert [p.name for p in tmp_path.iterdir()] == ["in.nii"]


def test_the_scale_factor_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(SHAPE), AFFINES["RAS"])
    image.header.set_slope_inter(0.5, -1024)
    image.to_filename(tmp_path / "a_CT.nii")
    raw = bytearray((tmp_path / "a_CT.nii").read_bytes())
    struct.pack_into("<ff", raw, 112, 0.5, -1024)  # nibabel itself resets them on writing
    raw[352:] = np.arange(210, dtype="<i2").tobytes()
    (tmp_path / "a_CT.nii").write_bytes(raw)
    volume = files.read(tmp_path / "a_CT.nii")
    assert volume.units == "HU"
    expected = np.arange(210).reshape(SHAPE, order="F") * 0.5 - 1024
    np.testing.assert_allclose(volume.array, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i4", "float64", "uint16", ">f4"])
def test_any_real_type_is_read(tmp_path, dtype):
    array = np.arange(210).reshape(SHAPE).astype(dtype)
    volume = files.read(save(tmp_path / "a.nii.gz", array))
    np.testing.assert_array_equal(volume.array, array.astype(float))


def test_modality_given_wins_over_the_file_name(tmp_path):
    path = files.write(random_volume(), tmp_path / "sub-01_T2w.nii.gz")
    assert files.read(path).modality == "T2w"
    assert files.read(path, modality="pd").modality == "PDw"
    with pytest.raises(UsageError, match="T3"):
        files.read(path, modality="T3")


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    one = files.write(random_volume(), tmp_path / "one.nii.gz").read_bytes()
    two = files.write(random_volume(), tmp_path / "two.nii.gz").read_bytes()
    assert one == two
    assert one[3] == 0  # neither file name nor comment
    assert one[4:8] == bytes(4)  # no time


def test_synthetic_is_written_into_the_description(tmp_path):
    marked = nib.load(files.write(random_volume(), tmp_path / "a.nii.gz", synthetic=True))
    plain = nib.load(files.write(random_volume(), tmp_path / "b.nii.gz"))
    assert bytes(marked.header["descrip"]).startswith(b"synthetic: chiasm ")
    assert bytes(plain.header["descrip"]).strip(b"\0") == b""


@pytest.mark.parametrize(("values", "dtype"), [((0, 4), "u1"), ((0, 300), "i2"), ((-1, 2), "i2")])
def test_labels_take_the_smallest_integer_type(tmp_path, values, dtype):
    array = np.random.default_rng(0).choice(values, SHAPE)
    path = files.write(LabelVolume(array, AFFINES["RAS"]), tmp_path / "a_dseg.nii.gz")
    assert nib.load(path).get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(files.read_labels(path).array, array)


def scan(**changes):
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    for where, value in changes.items():
        array[0 if where == "one" else ...] = value
    return array


def patched(path: Path, offset: int, form: str, *values) -> Path:
    raw = bytearray(save(path, scan()).read_bytes())
    struct.pack_into(form, raw, offset, *values)
    path.write_bytes(raw)
    return path


def cut(path: Path, part: float) -> Path:
    raw = save(path, scan()).read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    return path


def text(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


RGB = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
PIXDIM, DIM = 76, 40  # byte offsets in a NIfTI-1 header
BAD = {
    "missing": (lambda d: d / "a.nii.gz", "does not exist"),
    "a folder": (lambda d: folder(d / "a.nii"), "is a folder"),
    "unknown ending": (lambda d: text(d / "a.mha", b"1"), "ending"),
    "text": (lambda d: text(d / "a.nii", b"not an image" * 99), "not an image"),
    "no gzip": (lambda d: text(d / "a.nii.gz", b"not an image" * 99), "not an image"),
    "gzipped text": (lambda d: text(d / "a.nii.gz", gzip.compress(b"text" * 999)), "not an image"),
    "no bytes": (lambda d: text(d / "a.nii.gz", b""), "not an image"),
    "truncated in the data": (lambda d: cut(d / "a.nii.gz", 0.7), "truncated"),
    "truncated in the header": (lambda d: cut(d / "a.nii.gz", 0.05), "truncated"),
    "truncated, not gzipped": (lambda d: cut(d / "a.nii", 0.7), "truncated"),
    "complex": (lambda d: save(d / "a.nii.gz", scan().astype(np.complex64)), "complex"),
    "RGB": (lambda d: save(d / "a.nii.gz", RGB), "colour"),
    "several volumes": (lambda d: save(d / "a.nii.gz", np.zeros((*SHAPE, 3))), "3 volumes"),
    "vectors": (lambda d: save(d / "a.nii.gz", np.zeros((*SHAPE, 1, 3))), "3 volumes"),
    "one axis": (lambda d: save(d / "a.nii.gz", np.arange(9.0)), "shape"),
    "no voxels": (lambda d: patched(d / "a.nii", DIM + 2, "<h", 0), "shape"),
    "empty": (lambda d: save(d / "a.nii.gz", np.zeros(SHAPE)), "empty (all zero)"),
    "constant": (lambda d: save(d / "a.nii.gz", np.full(SHAPE, 7.0)), "constant (all 7)"),
    "NaN": (lambda d: save(d / "a.nii.gz", scan(one=np.nan)), "NaN"),
    "too large": (lambda d: save(d / "a.nii.gz", scan().astype(float) * 1e300), "Inf"),
    "Inf": (lambda d: save(d / "a.nii.gz", scan(one=np.inf)), "Inf"),
    "zero spacing": (lambda d: patched(d / "a.nii", PIXDIM + 4, "<f", 0), "0×1×1"),
    "negative spacing": (lambda d: patched(d / "a.nii", PIXDIM + 12, "<f", -2), "1×1×-2"),
    "no spacing": (lambda d: patched(d / "a.nii", PIXDIM + 8, "<f", np.nan), "nan"),
    "singular affine": (lambda d: patched(d / "a.nii", 280, "<12f", *[1.0] * 12), "singular"),
    "zero affine": (lambda d: patched(d / "a.nii", 280, "<12f", *[0.0] * 12), "singular"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path, kind, capfd):
    make, problem = BAD[kind]
    path = make(tmp_path)
    with pytest.raises(CaseError) as caught:
        files.read(path, argument="--in")
    message = str(caught.value)
    assert message.startswith(f"--in {path}: ")
    assert problem in message
    assert "legal: " in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")  # nor does a library talk


def test_a_spacing_is_refused_where_the_header_has_one(tmp_path):
    path = files.write(random_volume(), tmp_path / "a.nii")
    with pytest.raises(CaseError, match="--spacing"):
        files.read(path, spacing=2)


BAD_LABELS = {
    "fractions": (np.full(SHAPE, 0.5), "whole numbers"),
    "NaN": (np.full(SHAPE, np.nan), "no labels"),
    "beyond 16 bits": (np.full(SHAPE, 40000.0), "no labels"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_what_is_no_label_map_is_refused(tmp_path, kind):
    array, problem = BAD_LABELS[kind]
    path = save(tmp_path / "a_dseg.nii.gz", array)
    with pytest.raises(CaseError, match=problem) as caught:
        files.read_labels(path, argument="--truth")
    assert str(caught.value).startswith(f"--truth {path}: ")


def test_a_label_map_may_be_empty(tmp_path):
    path = save(tmp_path / "a_dseg.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    assert files.read_labels(path).labels == (Label(0, "background", "#000000"),)
