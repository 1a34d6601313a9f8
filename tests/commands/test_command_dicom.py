"""DICOM series as the input of the commands, and the list of what a folder holds."""

import json
import zipfile

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("pydicom")

from command_samples import brain, files_below, load, save_nifti
from pydicom import dcmread

import chiasm as package
from dicom_files import expected_affine, slices, write

BRAIN = brain()  # (24, 28, 6)
STORED = BRAIN.astype("u2").transpose(2, 1, 0)
GAP_OF_ONE = np.array([0, 2.5, 5, 10, 12.5, 15])
NAME = "003_t2-tse_T1w.nii.gz"
HISTOGRAM = ("--method", "histogram", "--format", "nifti")


@pytest.fixture
def series(tmp_path):
    return write(tmp_path / "exam" / "SE03", slices(STORED))


def test_a_series_is_translated_as_the_same_scan_in_nifti(chiasm, series, tmp_path):
    result = chiasm("translate", "-i", series.parent, "-o", tmp_path / "out", *HISTOGRAM)
    assert result.code == 0
    assert files_below(tmp_path / "out") == [f"SE03/{NAME}"]
    made = tmp_path / "out" / "SE03" / NAME
    same = save_nifti(tmp_path / "a_T2w.nii.gz", STORED.transpose(2, 1, 0), expected_affine())
    assert chiasm("translate", "-i", same, "-o", tmp_path / "nifti", *HISTOGRAM).code == 0
    np.testing.assert_array_equal(load(made), load(tmp_path / "nifti" / "a_T1w.nii.gz"))
    np.testing.assert_allclose(nib.load(made).affine, expected_affine(), atol=1e-3)


def test_an_archive_gives_the_same_and_the_report_names_the_series(chiasm, series, tmp_path):
    archive = tmp_path / "exam.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(series.iterdir()):
            packed.write(path, f"a/{path.name}")
    report = tmp_path / "report.json"
    words = ("-o", tmp_path / "zip", *HISTOGRAM, "--report", report)
    assert chiasm("translate", "-i", archive, *words).code == 0
    (case,) = json.loads(report.read_text())["cases"]
    assert case["input"] == f"{archive} (series 003_t2-tse)"
    assert case["series"]["slices"] == 6
    assert case["modality"] == "T2w"
    assert chiasm("translate", "-i", series, "-o", tmp_path / "folder", *HISTOGRAM).code == 0
    np.testing.assert_array_equal(load(tmp_path / "zip" / NAME), load(tmp_path / "folder" / NAME))


def test_two_echoes_are_two_scans(chiasm, tmp_path):
    first, second = slices(STORED), slices(STORED // 2, EchoTime=20, EchoNumbers=1)
    for one in second:
        one.SeriesInstanceUID = first[0].SeriesInstanceUID
    folder = write(tmp_path / "in", [*first, *second])
    assert chiasm("translate", "-i", folder, "-o", tmp_path / "out", *HISTOGRAM).code == 0
    names = [f"003_t2-tse_echo-{number}_T1w.nii.gz" for number in (1, 2)]
    assert files_below(tmp_path / "out") == names


def test_the_scans_of_a_folder_are_listed(chiasm, series, tmp_path):
    exam = series.parent
    write(
        exam / "SE01",
        slices(STORED, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesNumber=1),
    )
    write(exam / "SE05", slices(STORED, heights=GAP_OF_ONE, SeriesNumber=5))
    turned = slices(STORED, SeriesNumber=7)
    turned[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    write(exam / "SE07", turned)
    result = chiasm("info", exam)
    assert result.code == 1  # one series cannot be read
    assert f"{series}, series 003_t2-tse, T2w, 24×28×6 voxels of 0.9×1.1×2.5 mm" in result.out
    assert "1 slice is missing; legal: a complete series, or --interpolate" in result.out
    assert "1 DICOM series was left out because it is a localizer." in result.out
    assert "have different orientations" in result.err
    found = json.loads(chiasm("info", exam, "--json").out)
    assert [one["series"] for one in found["scans"]] == ["003_t2-tse", "005_t2-tse"]
    assert len(found["errors"]) == 1


def test_a_faulty_series_does_not_stop_the_others(chiasm, series, tmp_path):
    write(series.parent / "SE05", slices(STORED, heights=GAP_OF_ONE, SeriesNumber=5))
    words = ("translate", "-i", series.parent, *HISTOGRAM)
    result = chiasm(*words, "-o", tmp_path / "out")
    assert result.code == 1
    assert "1 slice is missing" in result.err
    assert files_below(tmp_path / "out") == [f"SE03/{NAME}"]
    assert chiasm(*words, "-o", tmp_path / "all", "--interpolate").code == 0
    made = load(tmp_path / "all" / "SE05" / "005_t2-tse_T1w.nii.gz")
    assert made.shape == (24, 28, 7)  # with the slice that is missing


def test_a_single_file_of_a_series_is_told_to_be_one_slice(chiasm, series, tmp_path):
    path = next(one for one in series.iterdir() if dcmread(one).pixel_array.any())
    result = chiasm("translate", "-i", path, "-o", tmp_path / "out", *HISTOGRAM)
    assert result.code == 0
    assert "This file holds one slice." in result.err


@pytest.mark.parametrize("kind", ["nothing", "text", "damaged"])
def test_an_archive_without_images_is_one_line(chiasm, kind, tmp_path):
    archive = tmp_path / "exam.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        if kind != "nothing":
            packed.writestr("readme.txt", "no image" * 100)
    if kind == "damaged":
        content = bytearray(archive.read_bytes())
        content[45:60] = bytes(15)
        archive.write_bytes(content)
    result = chiasm("translate", "-i", archive, "-o", tmp_path / "out", *HISTOGRAM)
    assert result.code == 1
    assert str(archive) in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "out").exists()


def test_python_takes_the_folder_of_one_series(series, tmp_path):
    made = package.translate(series, method="histogram")
    assert made.shape == (24, 28, 6)
    write(series.parent / "SE04", slices(STORED, SeriesNumber=4))
    with pytest.raises(package.CaseError, match=r"holds 2 DICOM series \(003_t2-tse, 004"):
        package.translate(series.parent, method="histogram")
    (tmp_path / "none").mkdir()
    with pytest.raises(package.CaseError, match="holds no DICOM series"):
        package.translate(tmp_path / "none", method="histogram")


def test_without_pydicom_one_line_says_what_is_missing(chiasm, series, tmp_path, monkeypatch):
    monkeypatch.setattr("chiasm.files.dicom.part.is_installed", lambda: False)
    monkeypatch.setattr("chiasm.files.dicom.series.is_installed", lambda: False)
    result = chiasm("translate", "-i", series, "-o", tmp_path / "out", *HISTOGRAM)
    assert result.code == 1
    (line,) = [one for one in result.err.splitlines() if "pydicom" in one]
    assert "pip install 'chiasm[dicom]'" in line


def test_the_files_of_the_series_are_not_replaced(chiasm, series):
    before = {path.name: path.read_bytes() for path in series.iterdir()}
    assert chiasm("translate", "-i", series, "-o", series, *HISTOGRAM).code == 0
    for name, content in before.items():
        assert (series / name).read_bytes() == content
    # What was made is no scan of a second run.
    again = chiasm("translate", "-i", series, "-o", series, *HISTOGRAM, "--overwrite")
    assert again.code == 0
    assert "1 image that Chiasm made was left out." in again.err


def test_the_results_of_a_series_are_dicom_by_default(chiasm, series, segmenter, tmp_path):
    pytest.importorskip("highdicom")
    words = ("-i", series.parent, "--method", "histogram", "--segmenter", segmenter)
    assert chiasm("run", *words, "-o", tmp_path / "out").code == 0
    slices_of = [f"SE03/003_t2-tse_T1w/{number:04d}.dcm" for number in range(1, 7)]
    assert files_below(tmp_path / "out") == [*slices_of, "SE03/003_t2-tse_dseg.dcm"]
    # They hold what NIfTI holds.
    assert chiasm("run", *words, "-o", tmp_path / "nifti", "--format", "nifti").code == 0
    image = load(tmp_path / "nifti" / "SE03" / NAME)
    labels = load(tmp_path / "nifti" / "SE03" / NAME.replace("T1w", "dseg"))
    made = [dcmread(tmp_path / "out" / name).pixel_array for name in slices_of]
    factor = 10 ** max(0, int(np.ceil(np.log10(1000 / np.abs(image).max()))))
    np.testing.assert_allclose(np.stack(made).transpose(2, 1, 0), image * factor, atol=0.51)
    import highdicom

    seg = highdicom.seg.segread(tmp_path / "out" / "SE03" / "003_t2-tse_dseg.dcm")
    volume = seg.get_volume(combine_segments=True, rescale_fractional=False)
    assert int((volume.array > 0).sum()) == int((labels > 0).sum())
    assert "histogram" in made_by(tmp_path / "out" / slices_of[0])
    # A second run refuses to replace them, or replaces them if it may.
    refused = chiasm("run", *words, "-o", tmp_path / "out")
    assert (refused.code, "exists" in refused.err) == (1, True)
    before = (tmp_path / "out" / slices_of[0]).read_bytes()
    assert chiasm("run", *words, "-o", tmp_path / "out", "--overwrite").code == 0
    assert (tmp_path / "out" / slices_of[0]).read_bytes() == before


def made_by(path):
    return dcmread(path).DerivationDescription


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format", "bitmap"], "--format bitmap: is not known; legal: dicom, nifti"),
        (["--format", "dicom"], "which is no DICOM series"),
    ],
)
def test_a_format_that_does_not_fit_is_one_line(words, told, chiasm, scan, out):
    result = chiasm("translate", "-i", scan, "-o", out, "--method", "histogram", *words)
    assert result.code == 2
    result.assert_said(told)
    assert not out.exists()


def test_a_slice_with_more_pixels_than_its_header_tells_is_refused(chiasm, tmp_path):
    made = slices(STORED)
    for one in made:
        one.Rows = one.Rows // 2
    series = write(tmp_path / "exam", made)
    result = chiasm("translate", "-i", series, "-o", tmp_path / "out", *HISTOGRAM)
    assert result.code == 1
    assert "holds the pixels of 2 images, and its header tells of 1" in result.err


@pytest.mark.parametrize("tag", ["Rows", "NumberOfFrames", "SeriesNumber"])
def test_two_numbers_in_the_place_of_one_count_as_missing(chiasm, tmp_path, tag):
    made = slices(STORED)
    for one in made:
        setattr(one, tag, [1, 2])
    series = write(tmp_path / "exam", made)
    result = chiasm("translate", "-i", series, "-o", tmp_path / "out", *HISTOGRAM)
    assert result.code == (1 if tag == "Rows" else 0), result.err
    assert ("holds no pixels" in result.err) == (tag == "Rows")


PERSON = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19700203",
    "StudyDate": "20240203",
    "StudyTime": "101112",
    "StudyID": "S-4711",
    "AccessionNumber": "A-4711",
    "ReferringPhysicianName": "House^Gregory",
    "StudyDescription": "Brain of Jane Doe",
    "SeriesDescription": "t2 Jane Doe",
    "ImageComments": "called Jane Doe back",
    "InstitutionName": "General Hospital",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.1",
}
TELLING = (b"Doe", b"Jane", b"-4711", b"House", b"General Hospital", b"20240203", b"19700203")


@pytest.mark.parametrize("command", ["run", "translate", "segment"])
def test_anonymised_results_tell_nothing_of_the_person(
    chiasm, tmp_path, segmenter, regression, command
):
    pytest.importorskip("dicomanonymizer")
    made = slices(STORED, **PERSON)
    series = write(tmp_path / "exams of Jane Doe" / "Doe", made)
    words = ["--modality", "T2", *(("--model", regression) if command != "segment" else ()),
             *(("--segmenter", segmenter) if command != "translate" else ())]  # fmt: skip
    out, again = tmp_path / "out", tmp_path / "again"
    for folder in (out, again):
        result = chiasm(command, "-i", series.parent, "-o", folder, "--anonymize", *words)
        assert result.code == 0, result.err
    names = files_below(out)
    assert names == files_below(again)  # a rerun gives the same names
    assert all((out / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert names
    for name in names:
        assert not any(part.decode() in name for part in TELLING), name
        content = (out / name).read_bytes()
        assert not any(part in content for part in TELLING), name
        if not name.endswith(".dcm"):
            continue
        header = dcmread(out / name)
        assert header.PatientIdentityRemoved == "YES"
        assert str(header.PatientName).startswith("ANON-")
        assert header.PatientID == str(header.PatientName)
        assert "dicom-anonymizer" in str(header.DeidentificationMethod)
        assert "Chiasm" in header.SeriesDescription  # our description is written after it
        assert header.ImageComments.startswith(("synthetic", "segmentation"))
        for uid in ("StudyInstanceUID", "FrameOfReferenceUID"):
            assert header[uid].value != made[0].get(uid)
            assert header[uid].value.startswith("1.2.826.0.1.3680043")


def test_the_images_of_anonymised_results_are_those_of_others(chiasm, tmp_path):
    pytest.importorskip("dicomanonymizer")
    series = write(tmp_path / "in", slices(STORED, **PERSON))
    words = ("translate", "-i", series, "--method", "histogram", "-o")
    assert chiasm(*words, tmp_path / "a", "--anonymize").code == 0
    assert chiasm(*words, tmp_path / "b").code == 0
    (one,) = (path for path in (tmp_path / "a").iterdir() if not path.name.startswith("."))
    (other,) = (path for path in (tmp_path / "b").iterdir() if not path.name.startswith("."))
    assert one.name != other.name
    for first, second in zip(sorted(one.iterdir()), sorted(other.iterdir()), strict=True):
        mine, plain = dcmread(first), dcmread(second)
        np.testing.assert_array_equal(mine.pixel_array, plain.pixel_array)
        assert mine.ImagePositionPatient == plain.ImagePositionPatient
        assert mine.SOPInstanceUID != plain.SOPInstanceUID
        assert str(plain.PatientName) == "Doe^Jane"


def test_only_dicom_is_anonymised(chiasm, scan, out, monkeypatch):
    pytest.importorskip("dicomanonymizer")
    result = chiasm("translate", "-i", scan, "-o", out, "--method", "histogram", "--anonymize")
    assert result.code == 2
    result.assert_said("--anonymize", scan, "is no DICOM series")
    from chiasm.files.dicom import anonymous

    monkeypatch.setattr(anonymous, "find_spec", lambda name: None)
    result = chiasm("translate", "-i", scan, "-o", out, "--method", "histogram", "--anonymize")
    assert result.code == 2
    result.assert_said("--anonymize", "dicom-anonymizer", "pip install 'chiasm[dicom]'")
    assert not out.exists()
