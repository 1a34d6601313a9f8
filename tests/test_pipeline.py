"""One scan all the way: what comes out, what is recorded, and what is said."""

import json

import nibabel as nib
import numpy as np
import pytest

from chiasm import Pipeline, UsageError, files, load_segmenter, load_translator
from chiasm.cohort.plan import plan
from chiasm.cohort.run import Task, failure, run_tasks
from chiasm.errors import CaseError
from chiasm.files.find import find_scans
from chiasm.image.volume import Label, LabelVolume, Volume
from chiasm.machine.device import Resources
from chiasm.phantom import Settings, subject
from chiasm.registry import SEGMENTERS
from chiasm.segmenters.base import Segmentation, Segmenter

CPU = Resources(device="cpu")
LABELS = (Label(0, "background", "#000000"), Label(7, "bright", "#ff0000"))


class Bright(Segmenter):
    """What is brighter than the median of the foreground; it has no weights and no folder."""

    name, modality, labels = "bright", None, LABELS

    def __init__(self, resources):
        self.resources = resources

    def segment(self, volume, mask=None):
        inside = volume.array > np.median(volume.array[mask])
        made = LabelVolume((inside & mask) * 7, volume.affine, labels=LABELS)
        return Segmentation(made, {"voxels": int(mask.sum())})


@pytest.fixture(scope="module")
def scan():
    return subject(4, Settings(spacing=4.0, modalities=("PDw",))).volumes["PDw"]


@pytest.fixture(scope="module")
def translator():
    return load_translator("brain-t1", "none", resources=CPU)


@pytest.fixture
def on_disk(scan, tmp_path):
    path = tmp_path / "data" / "sub-01" / "sub-01_PDw.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(scan.array, scan.affine), path)
    return path


def test_both_steps(scan, translator):
    result = Pipeline(translator, Bright(CPU))(scan)
    assert result.source is scan
    np.testing.assert_array_equal(result.foreground, scan.array > 0)
    assert result.translation.modality == "T1w"
    assert result.translation.same_grid(scan)
    # The segmenter was given the translation, on the same foreground.
    alone = Bright(CPU).segment(result.translation, result.foreground)
    np.testing.assert_array_equal(result.labels.array, alone.labels.array)
    assert result.deviation is None
    assert result.images == [result.translation, result.labels]
    assert result.warnings == ()
    record = json.loads(json.dumps(result.record))
    assert record["modality"] == "PDw"
    assert record["foreground"] == "found in the scan"
    assert record["warnings"] == []
    assert record["segmentation"]["voxels"] == int(result.foreground.sum())
    for step in ("translation", "segmentation"):
        assert record[step]["cost"]["seconds"] >= 0
    assert "translatability" not in record


def test_one_step_alone(scan, translator):
    translated = Pipeline(translator)(scan)
    assert translated.images == [translated.translation]
    assert "segmentation" not in translated.record
    segmented = Pipeline(segmenter=Bright(CPU))(scan)
    assert segmented.images == [segmented.labels]
    assert segmented.translation is None
    assert "translation" not in segmented.record
    with pytest.raises(UsageError, match="does nothing"):
        Pipeline()


def test_several_samples_have_a_deviation(scan):
    several = load_translator("brain-t1", "regression", resources=CPU, samples=2)
    result = Pipeline(several, Bright(CPU))(scan)
    made = [result.translation, result.labels, result.deviation, result.expected_error]
    assert result.images == [one for one in made if one is not None]
    assert len(result.images) == 2 + len(several.maps)
    inside = result.foreground
    spread = float(np.sqrt(np.mean(result.deviation.array[inside] ** 2)))
    assert result.record["translation"]["deviation_rms"] == pytest.approx(spread, rel=1e-5)
    assert spread > 0


def test_warnings_are_kept_and_recorded(scan, translator):
    pipeline = Pipeline(translator)
    result = pipeline(scan, modality="T1", warnings=["An earlier finding."])
    assert result.warnings[0] == "An earlier finding."
    assert result.warnings[1].startswith("This scan is T1w already")
    assert result.record["warnings"] == [*result.warnings]
    assert result.record["modality"] == "T1w"
    soft = np.clip(scan.array / scan.array.max(), 0, 1)
    (said,) = pipeline(scan, mask=soft).warnings
    assert "soft mask" in said


def test_a_mask_is_given_or_lies_beside_or_is_found(on_disk, scan, translator):
    pipeline = Pipeline(translator)
    half = scan.array > 0
    half[:, :, : scan.shape[2] // 2] = False
    assert pipeline(on_disk).record["foreground"] == "found in the scan"
    beside = on_disk.with_name("sub-01_desc-brain_mask.nii.gz")
    nib.save(nib.Nifti1Image(half.astype(np.uint8), scan.affine), beside)
    found = pipeline(on_disk)
    np.testing.assert_array_equal(found.foreground, half)
    assert found.record["foreground"] == str(beside)
    # One that is given goes before it, in every form.
    whole = scan.array > 0
    forms = {
        "array": whole,
        "nibabel": nib.Nifti1Image(whole.astype(np.uint8), scan.affine),
        "volume": LabelVolume(whole.astype(np.uint8), scan.affine, labels=()),
    }
    for name, mask in forms.items():
        given = pipeline(on_disk, mask=mask)
        np.testing.assert_array_equal(given.foreground, whole, err_msg=name)
        assert given.record["foreground"] == "given"
    # A scan in memory has nothing beside it.
    np.testing.assert_array_equal(pipeline(scan).foreground, whole)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (lambda scan: np.ones((2, 2, 2), bool), "has the shape"),
        (lambda scan: np.zeros(scan.shape, bool), "has no voxel inside"),
        (lambda scan: np.indices(scan.shape).sum(0) < 4, "has a foreground of 20 voxels"),
        (lambda scan: LabelVolume(np.ones(scan.shape, np.uint8), np.eye(4), labels=()), "grid"),
    ],
)
def test_a_mask_that_is_none_is_refused(mask, said, scan, translator):
    with pytest.raises(CaseError, match=said):
        Pipeline(translator)(scan, mask=mask(scan))


def test_an_image_of_nibabel_is_a_scan(scan, translator):
    result = Pipeline(translator)(nib.Nifti1Image(scan.array, scan.affine), modality="PD")
    expected = Pipeline(translator)(scan)
    np.testing.assert_array_equal(result.translation.array, expected.translation.array)
    series = nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4))
    with pytest.raises(CaseError, match="three axes"):
        Pipeline(translator)(series)
    with pytest.raises(UsageError, match="PNG and TIFF"):
        Pipeline(translator)(nib.Nifti1Image(scan.array, scan.affine), spacing=1.0)


def test_a_segmenter_must_know_what_the_translator_makes():
    towards_pd = load_translator("brain-any", to="PD", resources=CPU)
    with pytest.raises(UsageError, match=r"--segmenter brain-t1-tissue: knows only T1w.*PDw"):
        Pipeline(towards_pd, load_segmenter(resources=CPU))
    assert Pipeline(towards_pd, Bright(CPU)).target == "PDw"


def test_a_registered_segmenter_needs_no_model_folder(scan, translator):
    SEGMENTERS.add("bright", Bright, "Voxels that are brighter than the median.")
    try:
        chosen = load_segmenter("bright", CPU)
        pipeline = Pipeline(translator, chosen)
        pipeline.load()
        assert pipeline.settings()["segmenter"] == {"name": "bright"}
        assert set(np.unique(pipeline(scan).labels.array)) == {0, 7}
    finally:
        SEGMENTERS.remove("bright")
    with pytest.raises(UsageError, match="bright: is not a model"):
        load_segmenter("bright", CPU)


def test_translatability_is_measured_where_it_is_asked_for():
    scan = subject(12, Settings(spacing=4.0, modalities=("T2w",))).volumes["T2w"]
    one = load_translator("brain-t1", resources=CPU)
    limit = one.model.config.translatable_from
    assert limit is not None  # the shipped model records it
    noise = np.random.default_rng(0).uniform(1, 2, scan.shape) * (scan.array > 0)
    for image, good in ((scan, True), (scan.with_array(noise.astype(np.float32)), False)):
        result = Pipeline(one, check_translatability=True)(image)
        score = result.record["translatability"]["score"]
        assert (score >= limit) == good
        assert any("translatability" in said for said in result.warnings) != good


def test_settings_say_what_results_depend_on(translator):
    found = Pipeline(translator, Bright(CPU)).settings()
    assert found["method"] == "none"
    assert found["model"].startswith("brain-t1 ")
    assert found["target"] == "T1w"
    assert found["options"] == {}


ERRORS = [
    (CaseError("the scan is bad"), "the scan is bad"),
    (UsageError("two\nlines"), "two lines"),
    (ValueError("no\n such"), "could not be processed (ValueError: no such)"),
    (KeyError(), "could not be processed (KeyError: no message)"),
    (MemoryError(), "does not fit the memory"),
    (RuntimeError("CUDA out of memory. Tried to allocate"), "smaller --batch"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "smaller --batch"),
]


@pytest.mark.parametrize(("error", "said"), ERRORS, ids=lambda one: type(one).__name__)
def test_any_error_of_a_scan_is_a_case_error_in_one_line(error, said):
    found = failure(error)
    assert isinstance(found, CaseError)
    assert said in str(found)
    assert "\n" not in str(found)


class Failing(Bright):
    """A foreign segmenter with an error in it."""

    def segment(self, volume, mask=None):
        if volume.array.max() > 1000:
            raise ZeroDivisionError("by zero")
        return super().segment(volume, mask)


def test_an_error_of_one_scan_ends_no_other(scan, tmp_path, capsys):
    data, out, report = tmp_path / "data", tmp_path / "out", tmp_path / "report.json"
    for name, factor in (("sub-01", 1), ("sub-02", 1000), ("sub-03", 2)):
        (data / name).mkdir(parents=True)
        array = scan.array / scan.array.max() * 100 * factor
        image = nib.Nifti1Image(array.astype(np.float32), scan.affine)
        nib.save(image, data / name / f"{name}_PDw.nii.gz")
    search = find_scans([data])
    pipeline = Pipeline(segmenter=Failing(CPU))
    tasks = [Task(case, pipeline) for case in plan(search, out, ["dseg"])]
    code = run_tasks(tasks, search.errors, settings={"asked": 1}, reports=[report])
    assert code == 1
    written = json.loads(report.read_text())
    assert written["finished"] is True
    assert written["settings"] == {"asked": 1}
    states = [("outputs" in one, "error" in one) for one in written["cases"]]
    assert states == [(True, False), (False, True), (True, False)]
    failed = written["cases"][1]
    assert "ZeroDivisionError: by zero" in failed["error"]
    assert "sub-02_PDw.nii.gz" in failed["error"]
    assert "Traceback" in failed["traceback"]
    assert written["failed"] == [failed["error"]]
    assert failed["error"] in capsys.readouterr().err
    made = sorted(path.name for path in out.rglob("*.nii.gz"))
    assert made == ["sub-01_dseg.nii.gz", "sub-03_dseg.nii.gz"]
    again = files.read_labels(out / "sub-01" / "sub-01_dseg.nii.gz")
    assert {one.value: one.name for one in again.labels} == {0: "background", 7: "bright"}


def test_a_volume_is_a_scan_of_any_storage_order(scan, translator):
    """Results come back on the grid that the scan was stored on."""
    flipped = scan.array[::-1].transpose(2, 0, 1)
    affine = scan.affine.copy()
    affine[:3, 0] *= -1
    affine[:3, 3] = (scan.affine @ [scan.shape[0] - 1, 0, 0, 1])[:3]
    turned = Volume(flipped, affine[:, [2, 0, 1, 3]], modality="PDw")
    made = Pipeline(translator, Bright(CPU))(turned)
    plain = Pipeline(translator, Bright(CPU))(scan)
    assert made.labels.same_grid(turned)
    for one in ("translation", "labels"):
        back = getattr(made, one).array.transpose(1, 2, 0)[::-1]
        np.testing.assert_allclose(back, getattr(plain, one).array, atol=1e-3)
