"""Which files make a case, and that all of it lies on the source's grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from chiasm.comparison.cases import Reader, Session, find_sessions
from chiasm.errors import CaseError
from chiasm.image.volume import LabelVolume

AFFINE = np.diag([2.0, 2, 4, 1])


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def save(path, array, affine=AFFINE):
    nib.Nifti1Image(array, affine).to_filename(path)
    return path


def ball(shape=(20, 22, 8)):
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return np.where(sum(a**2 for a in at) < 0.8, 50 + 10 * at[0] + 5 * at[1] + 3 * at[2], 0)


def test_a_bids_dataset(tmp_path):
    touch(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-fast_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_PDw.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
        "derivatives/brains/sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz",
        ".hidden/sub-09_T1w.nii.gz",
    )
    sessions, left_out = find_sessions(tmp_path, "T1w")
    assert [one.name for one in sessions] == ["sub-01_ses-1", "sub-01_ses-2"]
    first, second = sessions
    assert first.subject == second.subject == "sub-01"
    assert first.target.name == "sub-01_ses-1_T1w.nii.gz"
    assert list(first.sources) == ["PDw", "T1ce"]
    assert first.mask.name == "sub-01_ses-1_desc-brain_mask.nii.gz"
    assert (first.truth, second.mask) == (None, None)
    assert list(second.sources) == ["FLAIR"]
    assert left_out == [
        "sub-02 was left out because it has no T1w image.",
        "sub-03 was left out because it has no image of another modality.",
    ]


def test_folders_without_bids_names(tmp_path):
    touch(tmp_path, "ana/T1.nii", "ana/T2.nii", "ana/T1ce.nii", "ana/dseg.nii", "ben/T2.nii")
    touch(tmp_path, "ben/T1.nii", "ben/dseg.nii")
    sessions, _ = find_sessions(tmp_path, "T1w")
    assert [(one.subject, list(one.sources)) for one in sessions] == [
        ("ana", ["T1ce", "T2w"]),
        ("ben", ["T2w"]),
    ]
    assert sessions[0].truth == tmp_path / "ana" / "dseg.nii"
    (alone,), _ = find_sessions(tmp_path / "ana", "T1w")
    assert alone.subject == "ana"


def test_names_in_one_folder(tmp_path):
    touch(tmp_path, "ana_T1w.nii", "ana_PDw.nii", "ana_FLAIR.nii", "ben_T1w.nii", "ben_PDw.nii")
    sessions, _ = find_sessions(tmp_path, "T1w", ["PDw"])
    assert [one.subject for one in sessions] == ["ana", "ben"]
    assert all(list(one.sources) == ["PDw"] for one in sessions)


@pytest.mark.parametrize(
    ("names", "sources", "said"),
    [
        (["sub-1_T2w.nii"], None, "holds no T1w image"),
        (["sub-1_T1w.nii"], None, "another modality"),
        (["sub-1_T1w.nii", "sub-1_T2w.nii"], ["FLAIR"], "a T1w image and an image of FLAIR"),
        (["sub-1_run-1_T1w.nii", "sub-1_run-2_T1w.nii", "sub-1_T2w.nii"], None, "run-2_T1w"),
        (
            ["sub-1_T1w.nii", "sub-1_T2w.nii", "sub-2_T1w.nii", "sub-2_T2w.nii", "sub-1_dseg.nii"],
            None,
            "no label map (_dseg) of sub-2",
        ),
    ],
)
def test_folders_that_make_no_case(tmp_path, names, sources, said):
    touch(tmp_path, *names)
    with pytest.raises(CaseError) as error:
        find_sessions(tmp_path, "T1w", sources)
    assert said in str(error.value)


class Counting:
    """A segmenter by a threshold, that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image, mask):
        self.calls += 1
        return LabelVolume((image.array > 50) & mask, image.affine)


def session(tmp_path, sources, **maps):
    target = save(tmp_path / "T1w.nii", ball())
    return Session("sub-1", "", target, sources, **maps)


def test_target_and_truth_are_brought_onto_the_grid_of_the_source(tmp_path):
    whole = ball()
    turned = AFFINE @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], whole.shape)
    flipped = 200 - 2 * whole[::-1] * (whole[::-1] > 0)
    flipped[whole[::-1] == 0] = 0
    source = save(tmp_path / "PDw.nii", flipped, turned)
    truth = save(tmp_path / "dseg.nii", (whole > 55).astype(np.uint8))
    case = Reader(session(tmp_path, {"PDw": source}, truth=truth), Counting()).read("PDw")
    assert case.pair == "PDw→T1w"
    np.testing.assert_allclose(case.real.array, whole[::-1], rtol=1e-5)
    np.testing.assert_array_equal(case.truth.array, whole[::-1] > 55)
    np.testing.assert_array_equal(case.mask, whole[::-1] > 0)
    assert case.reference is case.truth
    assert case.real.same_grid(case.source)


def test_the_real_target_is_segmented_once_for_sources_of_one_grid(tmp_path):
    sources = {
        "PDw": save(tmp_path / "PDw.nii", ball() * 2),
        "T2w": save(tmp_path / "T2w.nii", ball() * 3),
        "FLAIR": save(tmp_path / "FLAIR.nii", ball()[:, :, 2:]),
    }
    segment = Counting()
    reader = Reader(session(tmp_path, sources), segment)
    first, second = reader.read("PDw"), reader.read("T2w")
    assert segment.calls == 1
    assert second.reference is first.real_labels
    reader.read("FLAIR")  # a grid of its own
    assert segment.calls == 2


def test_slices_of_a_case(tmp_path):
    source = save(tmp_path / "PDw.nii", ball() * 2)
    seen = []

    def thresholded(image, mask):
        seen.append((image.shape, mask.shape))
        return LabelVolume(mask * (1 + (image.array > 60)), image.affine)

    case = Reader(session(tmp_path, {"PDw": source}), thresholded, slices=3).read("PDw")
    assert seen == [(ball().shape, ball().shape)]  # a segmenter may look at neighbouring slices
    np.testing.assert_array_equal(case.real_labels.array, case.mask * (1 + (case.real.array > 60)))
    assert case.source.shape == case.real.shape == case.mask.shape == (20, 22, 3)
    assert not case.adjacent
    np.testing.assert_allclose(case.real.array * 2, case.source.array, rtol=1e-5)
    assert case.real.same_grid(case.source)
    assert case.mask.any(axis=(0, 1)).all()


def test_the_head_is_the_mask_beside_the_images_within_the_field_of_view(tmp_path):
    source = save(tmp_path / "PDw.nii", np.concatenate([ball(), ball()], axis=0) + 1)
    mask = np.zeros((40, 22, 8), np.uint8)
    mask[15:30, 5:9] = 1
    given = save(tmp_path / "mask.nii", mask)
    case = Reader(session(tmp_path, {"PDw": source}, mask=given), Counting()).read("PDw")
    mask[20:] = 0  # where the real target was not scanned
    np.testing.assert_array_equal(case.mask, mask > 0)


def test_scans_of_different_places_make_no_case(tmp_path):
    away = AFFINE.copy()
    away[0, 3] = 500
    source = save(tmp_path / "PDw.nii", ball(), away)
    with pytest.raises(CaseError, match="scanner space"):
        Reader(session(tmp_path, {"PDw": source}), Counting()).read("PDw")


def test_paths_are_as_they_were_given(tmp_path, monkeypatch):
    touch(tmp_path, "in/sub-1_T1w.nii", "in/sub-1_T2w.nii")
    monkeypatch.chdir(tmp_path)
    (one,), _ = find_sessions(Path("in"), "T1w")
    assert one.target == Path("in/sub-1_T1w.nii")
