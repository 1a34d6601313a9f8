"""What is made of a DICOM series, as SimpleITK, highdicom, dcmqi and dciodvfy see it."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402

from chiasm.errors import CaseError  # noqa: E402
from chiasm.files.dicom.derived import Making  # noqa: E402
from chiasm.files.dicom.image import write_series  # noqa: E402
from chiasm.files.dicom.read import read  # noqa: E402
from chiasm.files.dicom.segmentation import write_segmentation  # noqa: E402
from chiasm.files.dicom.series import find_series  # noqa: E402
from chiasm.image.volume import Label, LabelVolume, Volume  # noqa: E402
from dicom_files import ENHANCED, GAP, ROWS, SLICES, TURN, slices, voxels, write  # noqa: E402

PERSON = {
    "PatientName": "Doe^Jane",
    "PatientID": "P7",
    "StudyDate": "20240203",
    "StudyTime": "101112",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.1",
}
LABELS = (
    Label(0, "background", "#000000"),
    Label(2, "grey", "#ee6677"),
    Label(3, "white", "#f7f1d5"),
    Label(17, "Left-Hippocampus", "#dcd814"),
)


def only(path):
    (series,) = find_series(path).series
    return series


def making(series, **facts):
    words = ("synthetic: chiasm 0", "synthetic T1w", "The scan was translated.")
    return Making(series, *words, facts, 1)


def image(series, seed=1, **changes):
    """A translation on the grid of a series."""
    volume = read(series, interpolate=True)
    array = np.random.default_rng(seed).uniform(0, 1500, volume.shape).astype(np.float32)
    return Volume(array, volume.affine, **{"modality": "T1w", **changes})


def label_map(series, seed=2):
    volume = read(series, interpolate=True)
    values = np.random.default_rng(seed).choice([0, 2, 3, 17], volume.shape)
    values[:, :, 0] = 0  # a slice without labels
    return LabelVolume(values, volume.affine, LABELS)


@pytest.fixture
def series(tmp_path):
    return only(write(tmp_path / "in", slices(**PERSON)))


def read_back(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def test_simpleitk_reads_the_derived_series_where_the_scan_lies(series, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    made = image(series)
    folder = write_series(made, tmp_path / "out", making(series))
    names = itk.ImageSeriesReader.GetGDCMSeriesFileNames
    one, other = (
        itk.ReadImage(names(str(path))) for path in (folder, series.frames[0].part.path.parent)
    )
    stored = itk.GetArrayFromImage(one).transpose(2, 1, 0)
    np.testing.assert_array_equal(stored, np.round(made.array))
    for tell in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        np.testing.assert_allclose(getattr(one, tell)(), getattr(other, tell)(), atol=1e-4)


def test_it_says_what_it_is_and_whose(series, tmp_path):
    folder = write_series(image(series), tmp_path / "out", making(series))
    found = read_back(folder)
    sources = [one.part.header() for one in series.frames]
    for number, (one, source) in enumerate(zip(found, sources, strict=True), start=1):
        assert list(one.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert (one.SeriesNumber, one.InstanceNumber, one.Modality) == (301, number, "MR")
        assert "synthetic" in one.SeriesDescription
        assert one.ImageComments.startswith("synthetic: chiasm")
        for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert one[name].value == source[name].value
        assert one.SeriesInstanceUID not in (source.SeriesInstanceUID, source.SOPInstanceUID)
        (referred,) = one.SourceImageSequence
        assert referred.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert one.WindowWidth > 1000
    assert len({one.SOPInstanceUID for one in found}) == len(found)
    # A folder with both is searched for scans: what was made is recognised.
    shutil.copytree(folder, tmp_path / "in" / "made")
    both = {
        one.comments.startswith("synthetic: chiasm") for one in find_series(tmp_path / "in").series
    }
    assert both == {True, False}


def test_a_rerun_gives_the_same_files_and_other_settings_other_uids(series, tmp_path):
    def made(name, **facts):
        how = making(series, **facts)
        write_series(image(series), tmp_path / name / "image", how)
        write_segmentation(label_map(series), tmp_path / name / "labels.dcm", how)
        return {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*.dcm"))
        }

    first = made("first", model="a")
    assert made("second", model="a") == first
    other = made("third", model="b")
    assert all(other[name] != content for name, content in first.items())


def test_small_intensities_are_multiplied_and_said_so(series, tmp_path):
    made = image(series)
    small = made.with_array(made.array / 1e4)
    found = read_back(write_series(small, tmp_path / "out", making(series)))
    stored = np.stack([one.pixel_array for one in found]).transpose(2, 1, 0)
    np.testing.assert_array_equal(stored, np.round(small.array * 10000))
    assert "multiplied by 10000" in found[0].DerivationDescription


def test_intensities_that_are_too_large_are_divided_and_not_cut(series, tmp_path):
    made = image(series)
    large = made.with_array(made.array * 100)
    found = read_back(write_series(large, tmp_path / "out", making(series)))
    stored = np.stack([one.pixel_array for one in found]).transpose(2, 1, 0)
    np.testing.assert_allclose(stored, large.array / 10, atol=0.51)
    assert "multiplied by 0.1" in found[0].DerivationDescription


def test_hounsfield_units_become_ct(series, tmp_path):
    made = image(series, modality="CT")
    made = made.with_array(made.array - 1024)
    (one, *_) = read_back(write_series(made, tmp_path / "out", making(series)))
    assert (one.Modality, one.RescaleSlope, one.RescaleIntercept) == ("CT", 1, 0)
    np.testing.assert_array_equal(one.pixel_array, np.round(made.array[:, :, 0]).T)


def test_every_segment_lies_where_its_label_does(series, tmp_path):
    labels = label_map(series)
    path = write_segmentation(labels, tmp_path / "labels.dcm", making(series))
    seg = highdicom.seg.segread(path)
    assert seg.SegmentationType == "BINARY"
    assert (seg.PatientID, seg.SeriesNumber) == ("P7", 301)
    names = {one.SegmentLabel: one for one in seg.SegmentSequence}
    assert list(names) == ["grey", "white", "Left-Hippocampus"]
    assert names["grey"].SegmentedPropertyTypeCodeSequence[0].CodeValue == "389081007"
    own = names["Left-Hippocampus"].SegmentedPropertyTypeCodeSequence[0]
    assert (own.CodeValue, own.CodingSchemeDesignator) == ("label-17", "99CHIASM")
    uids = [str(one.part.header().SOPInstanceUID) for one in series.frames]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, label in enumerate(LABELS[1:]):
        expected = (labels.array == label.value).transpose(2, 1, 0)
        np.testing.assert_array_equal(pixels[..., number], expected)


def test_dcmqi_reads_the_segmentation_on_the_grid_of_the_scan(series, tmp_path):
    tool = Path(sys.executable).with_name("segimage2itkimage")
    if not tool.exists():
        pytest.skip("dcmqi is not installed")
    labels = label_map(series)
    path = write_segmentation(labels, tmp_path / "labels.dcm", making(series))
    words = ["--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "nifti"]
    subprocess.run([tool, *words, "--mergeSegments"], check=True, capture_output=True)
    found = nib.load(tmp_path / "1.nii.gz")
    # dcmqi leaves out slices at the ends that hold nothing.
    to_ours = np.linalg.inv(labels.affine) @ found.affine
    np.testing.assert_allclose(to_ours[:3, :3], np.eye(3), atol=1e-4)
    first = int(np.round(to_ours[2, 3]))
    np.testing.assert_allclose(to_ours[:2, 3], 0, atol=1e-3)
    own = labels.array[:, :, first : first + found.shape[2]]
    numbers = np.select([own == one.value for one in LABELS[1:]], [1, 2, 3], 0)
    np.testing.assert_array_equal(np.asarray(found.dataobj), numbers)
    assert not labels.array[:, :, :first].any()


@pytest.mark.parametrize("kind", ["MR", "CT", "labels"])
def test_dciodvfy_finds_no_error(kind, series, tmp_path):
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dicom3tools is not installed")
    if kind == "labels":
        path = write_segmentation(label_map(series), tmp_path / "labels.dcm", making(series))
    else:
        modality = "CT" if kind == "CT" else "T1w"
        made = image(series, modality=modality)
        path = write_series(made, tmp_path / "out", making(series)) / "0002.dcm"
    said = subprocess.run([tool, path], capture_output=True, text=True, check=False)
    assert "Error" not in said.stdout + said.stderr


def test_uneven_slices_keep_their_places(tmp_path):
    heights = np.array([0, 2.5, 7.5, 10])
    series = only(write(tmp_path / "in", slices(heights=heights, **PERSON)))
    volume = read(series, interpolate=True)
    assert volume.shape[2] == 5
    # A ramp along the slices, which linear interpolation keeps.
    ramp = np.broadcast_to(1000 + 100 * np.arange(5, dtype=np.float32), volume.shape)
    made = Volume(ramp, volume.affine, modality="T1w")
    found = read_back(write_series(made, tmp_path / "out", making(series)))
    for one, frame, height in zip(found, series.frames, heights, strict=True):
        np.testing.assert_allclose(one.ImagePositionPatient, frame.place, atol=1e-4)
        assert (one.pixel_array == 1000 + 40 * height).all()
        assert "SpacingBetweenSlices" not in one
    labels = LabelVolume(np.broadcast_to([2, 2, 3, 17, 17], volume.shape), volume.affine, LABELS)
    path = write_segmentation(labels, tmp_path / "labels.dcm", making(series))
    seg = highdicom.seg.segread(path)
    uids = [str(one.part.header().SOPInstanceUID) for one in series.frames]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert pixels[:, 0, 0].argmax(-1).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("anonymous", [True, False])
def test_a_multi_frame_scan_is_answered_by_single_slices_and_a_segmentation(
    tmp_path, once, anonymous
):
    """Also if the pixels and the orientation are told once for each frame, as Philips does."""
    if anonymous:
        pytest.importorskip("dicomanonymizer")
    values = voxels()
    single = slices(values, **PERSON)
    one = single[0]
    frames = []
    for each in single[::-1]:  # stored from the top to the bottom
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = each.ImagePositionPatient
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = one.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
    for group in [shared] if once else frames:
        group.PlaneOrientationSequence = Sequence([orientation])
        group.PixelMeasuresSequence = Sequence([measures])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del one[name]
    one.SOPClassUID, one.NumberOfFrames = ENHANCED, SLICES
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    one.PerFrameFunctionalGroupsSequence = Sequence(frames)
    one.PixelData = values[::-1].tobytes()
    series = only(write(tmp_path / "in", [one]))
    made, labels = image(series), label_map(series)
    how = replace(making(series), anonymous=anonymous)
    found = read_back(write_series(made, tmp_path / "out", how))
    assert [x.SourceImageSequence[0].ReferencedFrameNumber for x in found] == [4, 3, 2, 1]
    again = read(only(tmp_path / "out"))
    np.testing.assert_array_equal(again.array, np.round(made.array))
    np.testing.assert_allclose(again.affine, made.affine, atol=1e-4)
    path = write_segmentation(labels, tmp_path / "labels.dcm", how)
    assert pydicom.dcmread(path).ContentDate == ("19000101" if anonymous else "20240203")
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    normal = np.cross(TURN[0], TURN[1])
    where = volume.get_affine("LPS") if hasattr(volume, "get_affine") else volume.affine
    step = np.abs(where[:3, :3].T @ normal).max()
    assert step == pytest.approx(GAP, abs=1e-3)
    assert int((volume.array > 0).sum()) == int((labels.array > 0).sum())
    assert ROWS in volume.array.shape


def test_an_existing_folder_is_kept_unless_it_may_be_replaced(series, tmp_path):
    folder = write_series(image(series), tmp_path / "out", making(series))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CaseError, match="exists"):
        write_series(image(series, 9), folder, making(series))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_series(image(series, 9), folder, making(series), overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} != before
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CaseError, match="holds other files"):
        write_series(image(series), folder, making(series), overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_full_disk_leaves_nothing(series, tmp_path, monkeypatch):
    def full(self, path, **how):
        Path(path).write_bytes(b"part")
        if str(path).endswith("0003.dcm"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", full)
    with pytest.raises(CaseError, match="No space left on device"):
        write_series(image(series), tmp_path / "out" / "series", making(series))
    assert not list((tmp_path / "out").rglob("*"))


def test_no_label_at_all_is_one_line(series, tmp_path):
    labels = label_map(series)
    empty = LabelVolume(np.zeros(labels.shape, int), labels.affine, LABELS)
    with pytest.raises(CaseError, match="would hold no label"):
        write_segmentation(empty, tmp_path / "labels.dcm", making(series))
    assert not (tmp_path / "labels.dcm").exists()
