"""PNG and TIFF slices: where their pixels lie, which are grey, and back again."""

import logging

import numpy as np
import pytest
from PIL import Image

from chiasm import files
from chiasm.errors import CaseError, UsageError
from chiasm.image.volume import LabelVolume, Volume

RNG = np.random.default_rng(0)
EIGHT = RNG.integers(0, 256, (20, 30)).astype(np.uint8)  # 20 rows, 30 columns
SIXTEEN = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
FLOAT = RNG.normal(size=(20, 30)).astype(np.float32)


def save(path, pixels, **kwargs):
    Image.fromarray(pixels).save(path, **kwargs)
    return path


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("a.png", EIGHT),
        ("a.PNG", SIXTEEN),
        ("a.tif", EIGHT),
        ("a.tiff", SIXTEEN),
        ("a.tif", FLOAT),
    ],
)
def test_pixels_and_their_type_come_back(tmp_path, name, pixels):
    path = save(tmp_path / name, pixels)
    volume = files.read(path, spacing=1)
    np.testing.assert_array_equal(volume.array[..., 0], pixels.T.astype(np.float32))
    out = files.write(volume, tmp_path / f"out_{name}", like=path)
    back = np.asarray(Image.open(out))
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)


def test_lzw_compressed_tiff_is_read(tmp_path):
    path = save(tmp_path / "a.tif", EIGHT, compression="tiff_lzw")
    np.testing.assert_array_equal(files.read(path, spacing=1).array[..., 0], EIGHT.T)


def test_the_viewer_sees_the_patients_right_on_the_left_and_the_face_above(tmp_path):
    volume = files.read(save(tmp_path / "a.png", EIGHT), spacing=(0.5, 2, 4))
    row, column = 3, 7
    assert volume.array[column, row, 0] == EIGHT[row, column]
    assert volume.orientation == "LPS"
    assert volume.spacing == (0.5, 2, 4)
    left, right = (volume.affine @ [c, 0, 0, 1] for c in (0, 29))
    top, bottom = (volume.affine @ [0, r, 0, 1] for r in (0, 19))
    assert left[0] - right[0] == pytest.approx(29 * 0.5)  # x grows to the patient's right
    assert top[1] - bottom[1] == pytest.approx(19 * 2)  # y grows to the front


def test_one_millimetre_is_assumed_and_said(tmp_path, caplog):
    path = save(tmp_path / "a.png", EIGHT)
    with caplog.at_level(logging.WARNING, "chiasm"):
        assert files.read(path).spacing == (1, 1, 1)
    assert "1 mm" in caplog.text
    assert "axial" in caplog.text
    caplog.clear()
    assert files.read(path, spacing=2).spacing == (2, 2, 2)
    assert not caplog.text


@pytest.mark.parametrize("spacing", [0, -1, (1, 2), np.inf, (1, 1, 0)])
def test_an_illegal_spacing_is_refused(tmp_path, spacing):
    with pytest.raises(UsageError, match="--spacing"):
        files.read(save(tmp_path / "a.png", EIGHT), spacing=spacing)


@pytest.mark.parametrize(
    "pixels",
    [
        np.repeat(EIGHT[..., None], 3, axis=2),
        np.dstack([EIGHT, EIGHT, EIGHT, np.full_like(EIGHT, 9)]),
        np.dstack([EIGHT, np.full_like(EIGHT, 9)]),
    ],
    ids=["RGB", "RGBA", "LA"],
)
def test_equal_channels_are_grey(tmp_path, pixels):
    volume = files.read(save(tmp_path / "a.png", pixels), spacing=1)
    np.testing.assert_array_equal(volume.array[..., 0], EIGHT.T)


def test_a_grey_palette_is_grey(tmp_path):
    Image.fromarray(EIGHT).convert("P").save(tmp_path / "a.png")
    volume = files.read(tmp_path / "a.png", spacing=1)
    np.testing.assert_array_equal(volume.array[..., 0], EIGHT.T)


def broken(path):
    path.write_bytes(save(path, EIGHT).read_bytes()[:300])
    return path


def text(path):
    path.write_text("not an image")
    return path


def pages(path):
    frames = [Image.fromarray(EIGHT), Image.fromarray(EIGHT)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


BAD = {
    "colour": (lambda d: save(d / "a.png", RNG.integers(0, 255, (9, 9, 3), "u1")), "colour"),
    "truncated PNG": (lambda d: broken(d / "a.png"), "truncated"),
    "truncated TIFF": (lambda d: broken(d / "a.tif"), "truncated"),
    "text": (lambda d: text(d / "a.png"), "cannot be read"),
    "pages": (lambda d: pages(d / "a.tif"), "2 pages"),
    "animation": (lambda d: pages(d / "a.png"), "2 pages"),
    "empty": (lambda d: save(d / "a.png", EIGHT * 0), "all zero"),
    "constant": (lambda d: save(d / "a.png", EIGHT * 0 + 3), "all 3"),
    "NaN": (lambda d: save(d / "a.tif", FLOAT * np.nan), "NaN"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_bad_picture_is_refused_in_one_line_that_names_it(tmp_path, kind):
    make, problem = BAD[kind]
    path = make(tmp_path)
    with pytest.raises(CaseError, match=problem) as caught:
        files.read(path, spacing=1)
    assert str(caught.value).startswith(f"-i {path}: ")
    assert "\n" not in str(caught.value)


def test_a_slice_of_any_orientation_is_shown_the_same_way(tmp_path):
    shown = files.read(save(tmp_path / "a.png", EIGHT), spacing=1)
    turned = Volume(shown.array[::-1, ::-1].transpose(1, 0, 2), np.eye(4)[[1, 0, 2, 3]])
    out = files.write(turned, tmp_path / "out.png", like=tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(out)), EIGHT)


@pytest.mark.parametrize("shape", [(20, 20, 2), (20, 1, 20)])
def test_only_one_axial_slice_fits_into_a_picture(tmp_path, shape):
    volume = Volume(RNG.normal(size=shape), np.eye(4))
    with pytest.raises(CaseError, match=r"out\.png.*nii\.gz"):
        files.write(volume, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_without_a_model_png_has_16_bits_and_tiff_floats(tmp_path):
    volume = Volume(SIXTEEN[..., None], np.eye(4))
    assert np.asarray(Image.open(files.write(volume, tmp_path / "a.png"))).dtype == np.uint16
    assert np.asarray(Image.open(files.write(volume, tmp_path / "a.tif"))).dtype == np.float32


def test_a_little_overshoot_is_clipped(tmp_path, caplog):
    path = save(tmp_path / "a.png", EIGHT)
    array = EIGHT.T.astype(float)
    array[0, 0], array[0, 1] = -40, 300
    out = files.write(files.read(path, spacing=1).with_array(array[..., None]), tmp_path / "b.png",
                      like=path)  # fmt: skip
    expected = np.clip(array, 0, 255).T
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)
    assert not caplog.text


def test_what_would_be_lost_is_stretched_and_said(tmp_path, caplog):
    unit = Volume(np.linspace(-1, 1, 600).reshape(30, 20, 1), np.diag([-1.0, -1, 1, 1]))
    back = np.asarray(Image.open(files.write(unit, tmp_path / "a.png"))).T.astype(float)
    np.testing.assert_allclose(back / 65535, (unit.array[..., 0] + 1) / 2, atol=1e-5)
    assert "a.png: The values -1 … 1" in caplog.text


def test_labels_come_back_from_a_picture(tmp_path):
    array = RNG.choice([0, 1, 300], (30, 20, 1))
    labels = LabelVolume(array, np.diag([-1.0, -1, 1, 1]))
    back = files.read_labels(files.write(labels, tmp_path / "a_dseg.png"))
    np.testing.assert_array_equal(back.array, array)
    assert (tmp_path / "a_dseg.tsv").exists()
    with pytest.raises(CaseError, match="-1"):
        files.write(LabelVolume(array - 1, labels.affine), tmp_path / "b_dseg.png")
    assert not (tmp_path / "b_dseg.tsv").exists()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_synthetic_is_written_into_the_picture(tmp_path, name):
    volume = Volume(SIXTEEN[..., None], np.eye(4))
    assert b"synthetic: chiasm" in files.write(volume, tmp_path / name, synthetic=True).read_bytes()
    plain = files.write(volume, tmp_path / f"plain_{name}").read_bytes()
    assert b"synthetic" not in plain
