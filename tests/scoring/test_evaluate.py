"""From files, volumes and nibabel images to scores; grids refused or resampled."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from chiasm.errors import CaseError, UsageError
from chiasm.image.volume import LabelVolume, Volume
from chiasm.scoring import evaluate, image_scores, label_scores

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
SHAPE = (14, 16, 12)


def linear(affine, shape=SHAPE):
    """An image that is linear in scanner space: linear interpolation of it is exact."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = nib.affines.apply_affine(affine, index)
    return Volume(place @ [3.0, -2.0, 1.0] + 500, affine)


@pytest.fixture
def pair():
    truth = linear(AFFINE)
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    return truth.with_array(truth.array + noise), truth


@pytest.fixture
def label_pair():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, SHAPE)
    return [LabelVolume(np.where(rng.random(SHAPE) < 0.2, 1, truth), AFFINE),
            LabelVolume(truth, AFFINE)]  # fmt: skip


@pytest.fixture
def mask():
    return np.random.default_rng(2).random(SHAPE) < 0.5


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_paths_volumes_and_nibabel_images_score_alike(pair, mask, tmp_path):
    expected = image_scores(*pair, mask)
    paths = [save(tmp_path / f"{k}_T1w.nii.gz", v.array) for k, v in zip("pt", pair, strict=True)]
    place = save(tmp_path / "mask.nii.gz", mask.astype(np.uint8))
    result = evaluate(*paths, mask=place)
    assert result.image == expected
    assert (result.pred, result.truth) == tuple(map(str, paths))
    assert result.labels is None
    assert evaluate(*map(str, paths), mask=mask).image == expected
    assert evaluate(*pair, mask=Volume(mask * 0.5, AFFINE)).image == expected
    with_volume_axis = [nib.Nifti1Image(v.array[..., None], AFFINE) for v in pair]
    in_memory = nib.Nifti1Image(mask.astype(np.uint8), AFFINE)
    assert evaluate(*with_volume_axis, mask=in_memory).image == expected


def test_label_maps_from_anywhere_score_alike(label_pair, mask, tmp_path):
    expected = [(s.value, s.dice, s.assd) for s in label_scores(*label_pair, mask=mask).labels]
    paths = [
        save(tmp_path / f"{k}_dseg.nii.gz", v.array) for k, v in zip("pt", label_pair, strict=True)
    ]
    images = [nib.Nifti1Image(v.array, AFFINE) for v in label_pair]
    intensities = [Volume(v.array, AFFINE) for v in label_pair]
    for sources in (label_pair, paths, images, intensities):
        result = evaluate(*sources, mask=mask, labels=True)
        assert [(s.value, s.dice, s.assd) for s in result.labels.labels] == expected
        assert result.image is None


def test_other_grids_are_refused_unless_resampled(pair, mask):
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    with pytest.raises(CaseError, match=r"^--pred .*--resample"):
        evaluate(Volume(pair[0].array, shifted), pair[1], mask=mask)
    with pytest.raises(CaseError, match=r"^--pred .*--resample"):
        evaluate(Volume(pair[0].array[:-1], AFFINE), pair[1], mask=mask)
    with pytest.raises(CaseError, match=r"^--mask .*--resample"):
        evaluate(*pair, mask=LabelVolume(mask, shifted))


def test_resampling_an_image_is_linear():
    truth = linear(AFFINE)
    # Finer, rotated, and larger on every side than the truth.
    turn = nib.eulerangles.euler2mat(0.2, -0.1, 0.15) @ np.diag([1.5, 1.7, 1.6])
    middle = nib.affines.apply_affine(AFFINE, (np.array(SHAPE) - 1) / 2)
    shape = (40, 40, 48)
    affine = nib.affines.from_matvec(turn, middle - turn @ ((np.array(shape) - 1) / 2))
    everywhere = np.ones(SHAPE, bool)
    result = evaluate(linear(affine, shape), truth, mask=everywhere, resample=True)
    assert result.resampled
    assert result.image.mae < 1e-3
    assert not evaluate(truth, truth, mask=everywhere, resample=True).resampled


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("single", [False, True])
def test_resampling_a_reoriented_copy_loses_nothing(pair, label_pair, mask, kind, single):
    """Also at the outermost voxels, whose places rounding puts just outside the image."""
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, 0.2, 0.1), [0.3, 0.7, 0.1])
    labels = kind == "labels"
    truth = label_pair[1] if labels else pair[1]
    array = truth.array[:, :, :1] if single else truth.array
    mask = mask[:, :, :1] if single else mask
    truth = type(truth)(array, turn @ AFFINE)
    original = nib.Nifti1Image(truth.array, truth.affine)
    copy = original.as_reoriented([[1, -1], [0, 1], [2, -1]])
    result = evaluate(copy, truth, mask=mask, labels=labels, resample=True)
    assert result.resampled
    if labels:
        assert [s.dice for s in result.labels.labels] == [1, 1, 1]
    else:
        assert result.image.mae < 1e-3


def test_beyond_the_prediction_lies_its_background(label_pair, pair, mask):
    half = LabelVolume(label_pair[1].array[:7], AFFINE)
    result = evaluate(half, label_pair[1], labels=True, resample=True)
    expected = label_pair[1].array.copy()
    expected[7:] = 0
    assert result.labels == label_scores(LabelVolume(expected, AFFINE), label_pair[1])
    air = Volume(pair[0].array[:7] - 1000, AFFINE)
    filled = np.full(SHAPE, air.array.min())
    filled[:7] = air.array
    result = evaluate(air, pair[1], mask=mask, resample=True)
    assert result.image.mae == image_scores(Volume(filled, AFFINE), pair[1], mask).mae


def test_refusals(pair, label_pair, mask, tmp_path):
    with pytest.raises(CaseError, match=r"^--pred .*does not exist"):
        evaluate(tmp_path / "absent.nii.gz", pair[1], mask=mask)
    with pytest.raises(UsageError, match=r"^--truth .*is a label map"):
        evaluate(pair[0], label_pair[1], mask=mask)
    with pytest.raises(CaseError, match="whole numbers"):
        evaluate(pair[0], label_pair[1], labels=True)
    with pytest.raises(CaseError, match="three axes"):
        evaluate(nib.Nifti1Image(np.zeros((*SHAPE, 2)), AFFINE), pair[1], mask=mask)
    with pytest.raises(CaseError, match=r"^--mask .*no voxel inside"):
        evaluate(*pair, mask=np.zeros(SHAPE))


def test_importing_loads_no_torch():
    code = "import sys, chiasm.scoring; print({'torch', 'monai', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
