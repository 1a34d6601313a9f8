"""DICOM series: what is read, against SimpleITK and against what was written, and every fault."""

import zipfile

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402

from chiasm.errors import CaseError  # noqa: E402
from chiasm.files.dicom.read import modality_of, read  # noqa: E402
from chiasm.files.dicom.series import find_series  # noqa: E402
from dicom_files import (  # noqa: E402
    COLUMNS,
    ENHANCED,
    ROWS,
    SLICES,
    TURN,
    expected_affine,
    slices,
    voxels,
    write,
)


def only(path):
    (series,) = find_series(path).series
    return series


def test_a_shuffled_oblique_series_is_what_was_written(tmp_path):
    series = only(write(tmp_path / "in", slices()))
    volume = read(series)
    np.testing.assert_array_equal(volume.array, voxels().transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-3)
    assert (volume.modality, volume.units, series.notes) == ("T2w", "a.u.", ())
    assert series.name == "003_t2-tse"


def test_it_is_what_simpleitk_reads(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    folder = write(tmp_path / "in", slices())
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image, volume = reader.Execute(), read(only(folder))
    np.testing.assert_array_equal(itk.GetArrayFromImage(image).transpose(2, 1, 0), volume.array)
    for index in np.ndindex(2, 2, 2):
        corner = [int(n) for n in np.array(index) * (np.array(volume.shape) - 1)]
        lps = np.array(image.TransformIndexToPhysicalPoint(corner))
        ras = volume.affine @ [*corner, 1]
        np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=1e-3)


def test_an_archive_and_compressed_files_give_the_same(tmp_path):
    plain = read(only(write(tmp_path / "plain", slices())))
    packed = write(tmp_path / "rle", slices(), compress=True)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in packed.iterdir():
            archive.write(path, f"study/{path.name}")
        archive.writestr("study/readme.txt", "no scan")
        archive.writestr("../../outside", "no scan")
    for source in (packed, tmp_path / "all.zip"):
        again = read(only(source))
        np.testing.assert_array_equal(again.array, plain.array)
        np.testing.assert_allclose(again.affine, plain.affine)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.zip", "plain", "rle"]


def test_the_rescaling_of_the_header_is_applied(tmp_path):
    made = slices(RescaleSlope="2.5", RescaleIntercept="-1024", Modality="CT")
    volume = read(only(write(tmp_path / "in", made)))
    np.testing.assert_allclose(volume.array, voxels().transpose(2, 1, 0) * 2.5 - 1024)
    assert (volume.modality, volume.units) == ("CT", "HU")


def enhanced(values):
    """All slices in one multi-frame file, in reverse order, with groups of their own."""
    made = slices(values)
    one, many = made[0], []
    for each in made[::-1]:
        group = Dataset()
        for name, item in (
            ("PlanePositionSequence", {"ImagePositionPatient": each.ImagePositionPatient}),
            ("PixelValueTransformationSequence", {"RescaleSlope": 3, "RescaleIntercept": 1}),
        ):
            inner = Dataset()
            for key, value in item.items():
                setattr(inner, key, value)
            setattr(group, name, Sequence([inner]))
        many.append(group)
    shared = Dataset()
    for name, item in (
        ("PlaneOrientationSequence", {"ImageOrientationPatient": one.ImageOrientationPatient}),
        ("PixelMeasuresSequence", {"PixelSpacing": one.PixelSpacing, "SliceThickness": 2.0}),
        ("MREchoSequence", {"EffectiveEchoTime": 12.0}),
        ("MRTimingAndRelatedParametersSequence", {"RepetitionTime": 3000.0}),
    ):
        inner = Dataset()
        for key, value in item.items():
            setattr(inner, key, value)
        setattr(shared, name, Sequence([inner]))
    one.SOPClassUID, one.NumberOfFrames = ENHANCED, len(values)
    one.PixelData = values[::-1].tobytes()
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime"):
        delattr(one, key)
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    one.PerFrameFunctionalGroupsSequence = Sequence(many)
    return one


def test_a_multi_frame_file_is_what_was_written(tmp_path):
    folder = write(tmp_path / "in", [enhanced(voxels())])
    (file,) = folder.iterdir()
    volume = read(only(file))
    np.testing.assert_allclose(volume.array, voxels().transpose(2, 1, 0) * 3 + 1)
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-3)
    assert volume.modality == "PDw"


def test_two_echoes_are_two_volumes(tmp_path):
    first, second = slices(EchoTime=12), slices(voxels(1), EchoTime=95)
    for one in second:
        one.SeriesInstanceUID = first[0].SeriesInstanceUID
    found = find_series(write(tmp_path / "in", first + second)).series
    assert [(one.part, modality_of(one)) for one in found] == [("echo-1", "PDw"), ("echo-2", "T2w")]
    assert all("2 volumes, which were taken apart" in one.notes[-1] for one in found)
    for one, seed in zip(found, (0, 1), strict=True):
        np.testing.assert_array_equal(read(one).array, voxels(seed).transpose(2, 1, 0))


def test_copies_are_left_out_and_said_so(tmp_path):
    made = slices()
    folder = write(tmp_path / "in", made)
    write(folder / "again", made[:2])
    series = only(folder)
    assert len(series.frames) == SLICES
    assert "2 files are copies of others" in series.notes[0]
    np.testing.assert_array_equal(read(series).array, voxels().transpose(2, 1, 0))


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    series = only(write(tmp_path / "in", slices(shear=(0.0, np.tan(np.radians(15))))))
    assert "tilted by 15.0 degrees" in series.notes[0]
    volume = read(series)
    for k, one in enumerate(series.frames):
        np.testing.assert_allclose(
            (volume.affine @ [0, 0, k, 1])[:3], one.place * [-1, -1, 1], atol=1e-3
        )


@pytest.mark.parametrize(
    ("heights", "told", "distance"),
    [([0, 2.5, 7.5, 10], "1 slice is missing", 2.5), ([0, 1.1, 5, 11], "uneven distances", 3.9)],
)
def test_gaps_are_refused_unless_slices_are_interpolated(tmp_path, heights, told, distance):
    planes = np.arange(COLUMNS) * 3.0 + np.array(heights)[:, None, None] * 10
    values = np.broadcast_to(planes, (4, ROWS, COLUMNS)).round().astype("u2")
    series = only(write(tmp_path / "in", slices(values, heights=heights)))
    with pytest.raises(CaseError, match=told) as refused:
        read(series)
    assert "--interpolate" in str(refused.value)
    assert str(tmp_path / "in") in str(refused.value)
    volume = read(series, interpolate=True)
    assert volume.spacing[2] == pytest.approx(distance, abs=1e-3)
    # The intensities rise by 10 for each mm, so linear interpolation must not change that.
    height = np.arange(volume.shape[2]) * distance
    np.testing.assert_allclose(volume.array[0, 0], height * 10, atol=0.6)


def test_a_single_slice_without_a_thickness_is_told(tmp_path):
    made = slices(voxels()[:1])
    del made[0].SliceThickness
    series = only(write(tmp_path / "in", made))
    assert "1 mm is assumed" in series.notes[0]
    assert read(series).spacing[2] == pytest.approx(1)
    assert only(write(tmp_path / "told", slices(voxels()[:1]))).notes == ()


def changed(key, value, which=2):
    made = slices()
    setattr(made[which], key, value)
    return made


def turned():
    made = slices()
    made[1].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return made


def larger():
    made = slices()
    made[1].Rows, made[1].PixelData = 7, np.zeros((7, COLUMNS), "u2").tobytes()
    return made


def shifted():
    made = slices()
    place = np.array([float(x) for x in made[2].ImagePositionPatient]) + 4 * TURN[0]
    made[2].ImagePositionPatient = [f"{x:.6g}" for x in place]
    return made


def twice():
    return [*slices(), *slices(voxels(1))]


def one_series(made):
    for one in made:
        one.SeriesInstanceUID = made[0].SeriesInstanceUID
    return made


def without(key):
    made = slices()
    del made[0][key]
    return made


FAULTS = {
    "have different orientations": turned,
    "have different sizes": larger,
    "is shifted by 4.0 mm": shifted,
    "nothing in their headers tells them apart": lambda: one_series(twice()),
    "is a colour image": lambda: changed("SamplesPerPixel", 3),
    "is a mosaic": lambda: changed("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
    "has no position and orientation": lambda: without("ImagePositionPatient"),
    "has no size of its pixels": lambda: without("PixelSpacing"),
    "pixels of different sizes": lambda: changed("PixelSpacing", [2, 2]),
    "not at right angles": lambda: changed("ImageOrientationPatient", [1, 0, 0, 1, 1, 0], 0),
    "holds no pixels": lambda: without("PixelData"),
    "cannot be decoded": lambda: changed("PixelData", b"ab"),
}


@pytest.mark.parametrize("told", FAULTS)
def test_a_fault_is_one_line_that_names_it_and_the_files(told, tmp_path):
    folder = write(tmp_path / "in", FAULTS[told]())
    series, *_ = find_series(folder).series
    with pytest.raises(CaseError, match=told) as refused:
        read(series)
    said = str(refused.value)
    assert "\n" not in said
    assert said.startswith(f"-i {folder}")
    assert "; legal: " in said


def test_other_files_are_left_out_and_damaged_ones_are_errors(tmp_path):
    folder = write(tmp_path / "in", slices())
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "damaged").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    report = slices()[:1]
    report[0].SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"  # a structured report
    write(folder, report, names=["report"])
    found = find_series(folder)
    assert len(found.series) == 1
    assert found.left_out.keys() == {"Basic Text SR"}
    assert [str(error).partition(":")[0] for error in found.errors] == [f"-i {folder}/damaged"]


def test_archives_that_are_damaged_or_far_too_large_are_refused(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(1 << 28))
    with pytest.raises(CaseError, match=r"holds 0\.3 GB in 0\.3 MB"):
        find_series(bomb)
    broken = tmp_path / "broken.zip"
    folder = write(tmp_path / "in", slices())
    with zipfile.ZipFile(broken, "w", zipfile.ZIP_STORED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    content = bytearray(broken.read_bytes())
    content[content.index(voxels()[0].tobytes())] ^= 1  # the checksum tells
    broken.write_bytes(bytes(content))
    with pytest.raises(CaseError, match="Bad CRC-32 for file"):
        find_series(broken)
