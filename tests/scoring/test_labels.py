"""Dice, HD95, ASSD and volumes against analytic answers, slow definitions and MONAI."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chiasm.errors import CaseError
from chiasm.image.volume import Label, LabelVolume
from chiasm.scoring import LabelScores, label_scores

SPACING = (0.7, 1.0, 3.0)
AFFINE = np.diag([*SPACING, 1.0])
# Rotated, flipped, anisotropic and sheared.
SHEARED = np.array(
    [[-0.6, 0.2, 0.9, 5.0], [0.3, 1.1, -0.4, -8.0], [0.1, -0.2, 2.5, 3.0], [0, 0, 0, 1]]
)
TWO = (Label(0, "background", "#000000"), Label(1, "one", "#ff0000"), Label(2, "two", "#00ff00"))


def blobs(seed, shape, noise=0.4):
    """Two overlapping random three-region maps (0, 1, 2)."""
    rng = np.random.default_rng(seed)
    smooth = [gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(2)]
    maps = smooth[0], smooth[0] + noise * smooth[1]
    return [np.digitize(m, np.quantile(smooth[0], [0.4, 0.75])) for m in maps]


def volumes(arrays, affine=AFFINE, labels=TWO):
    return [LabelVolume(array, affine, labels) for array in arrays]


def slow_surface(region, affine):
    """Centres in mm of the region's voxels with a face neighbour outside it."""
    points = []
    for voxel in np.argwhere(region):
        for axis in (axis for axis in range(3) if region.shape[axis] > 1):
            for step in (-1, 1):
                near = voxel.copy()
                near[axis] += step
                ends = not 0 <= near[axis] < region.shape[axis]
                if ends or not region[tuple(near)]:
                    points.append(affine[:3, :3] @ voxel + affine[:3, 3])
    return np.unique(points, axis=0)


def slow_distances(pred, truth, affine):
    points = [slow_surface(region, affine) for region in (pred, truth)]
    table = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    there, back = table.min(1), table.min(0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, np.concatenate([there, back]).mean()


@pytest.mark.parametrize("affine", [AFFINE, SHEARED])
@pytest.mark.parametrize("shape", [(12, 11, 7), (14, 15, 1), (1, 14, 15)])
def test_scores_are_their_slow_definitions(shape, affine):
    pred, truth = blobs(0, shape)
    scores = label_scores(*volumes([pred, truth], affine))
    assert [score.name for score in scores.labels] == ["one", "two"]
    for score in scores.labels:
        p, t = pred == score.value, truth == score.value
        hd95, assd = slow_distances(p, t, affine)
        assert score.hd95 == pytest.approx(hd95, abs=1e-9)
        assert score.assd == pytest.approx(assd, abs=1e-9)
        assert score.dice == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()))
        voxel = abs(np.linalg.det(affine[:3, :3])) / 1000
        assert score.pred_ml == pytest.approx(p.sum() * voxel)
        assert score.truth_ml == pytest.approx(t.sum() * voxel)
    assert scores.dice == pytest.approx(np.mean([s.dice for s in scores.labels]))
    assert scores.hd95 == pytest.approx(np.mean([s.hd95 for s in scores.labels]))
    assert scores.assd == pytest.approx(np.mean([s.assd for s in scores.labels]))


def test_agrees_with_monai_on_an_anisotropic_grid():
    torch = pytest.importorskip("torch")
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
    )

    pred, truth = blobs(1, (24, 20, 9))
    hot = [torch.from_numpy(np.stack([a == k for k in range(3)])[None]) for a in (pred, truth)]
    dice = compute_dice(*hot, include_background=False)[0]
    hd95 = compute_hausdorff_distance(*hot, percentile=95, spacing=SPACING)[0]
    assd = compute_average_surface_distance(*hot, symmetric=True, spacing=SPACING)[0]
    scores = label_scores(*volumes([pred, truth])).labels
    assert [s.dice for s in scores] == pytest.approx(dice.tolist(), rel=1e-6)
    assert [s.hd95 for s in scores] == pytest.approx(hd95.tolist(), rel=1e-6)
    assert [s.assd for s in scores] == pytest.approx(assd.tolist(), rel=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_cube(axis):
    truth = np.zeros((16, 16, 16), int)
    truth[4:10, 4:10, 4:10] = 1
    pred = np.roll(truth, 2, axis)
    (score,) = label_scores(*volumes([pred, truth], labels=TWO[:2])).labels
    assert score.dice == pytest.approx(4 / 6)
    assert score.pred_ml == score.truth_ml == pytest.approx(216 * 0.7 * 1 * 3 / 1000)
    # The face that moved ahead is 36 of the cube's 152 surface voxels, all two steps away.
    assert score.hd95 == pytest.approx(2 * SPACING[axis])


def test_parallel_planes_have_the_known_distances():
    truth = np.zeros((9, 10, 12), int)
    truth[:, :, 2] = 1
    pred = np.roll(truth, 5, 2)
    (score,) = label_scores(*volumes([pred, truth], labels=TWO[:2])).labels
    assert (score.hd95, score.assd, score.dice) == (pytest.approx(15), pytest.approx(15), 0)


def test_equal_maps_are_perfect():
    pred, _ = blobs(2, (12, 10, 8))
    scores = label_scores(*volumes([pred, pred]))
    assert (scores.dice, scores.hd95, scores.assd) == (1, 0, 0)


def test_label_in_neither_map_is_nan_and_left_out_of_the_means():
    pred, truth = (np.where(a == 2, 0, a) for a in blobs(3, (12, 10, 8)))
    scores = label_scores(*volumes([pred, truth]))
    one, two = scores.labels
    assert np.isnan([two.dice, two.hd95, two.assd]).all()
    assert (two.pred_ml, two.truth_ml) == (0, 0)
    assert (scores.dice, scores.hd95, scores.assd) == (one.dice, one.hd95, one.assd)


@pytest.mark.parametrize("missing", [0, 1])
def test_label_in_one_map_scores_nothing(missing):
    arrays = blobs(4, (12, 10, 8))
    arrays[missing] = np.where(arrays[missing] == 2, 0, arrays[missing])
    scores = label_scores(*volumes(arrays))
    one, two = scores.labels
    assert (two.dice, two.hd95, two.assd) == (0, np.inf, np.inf)
    assert (scores.dice, scores.hd95) == (one.dice / 2, np.inf)
    assert '"hd95":null' in scores.model_dump_json()


def test_two_empty_maps_have_no_score():
    empty = np.zeros((8, 8, 8), int)
    scores = label_scores(*volumes([empty, empty]))
    assert np.isnan([scores.dice, scores.hd95, scores.assd]).all()
    again = LabelScores.model_validate_json(scores.model_dump_json())
    assert np.isnan(again.labels[0].dice)
    assert again.model_dump_json() == scores.model_dump_json()


def test_lesion_counts_as_white_by_default():
    truth = np.zeros((10, 10, 10), int)
    truth[2:8, 2:8, 2:8] = 3
    whole = truth.copy()
    truth[4:6, 4:6, 4:6] = 4
    tissues = LabelVolume(truth, AFFINE)
    three = {s.name: s for s in label_scores(LabelVolume(whole, AFFINE), tissues).labels}
    assert list(three) == ["csf", "grey", "white"]
    assert three["white"].dice == 1
    four = {s.name: s for s in label_scores(LabelVolume(whole, AFFINE), tissues, merge={}).labels}
    assert four["lesion"].dice == 0
    assert four["white"].dice == pytest.approx(2 * 208 / (216 + 208))


def test_merge_exchanges_labels_at_once():
    pred, truth = blobs(5, (12, 10, 8))
    plain = label_scores(*volumes([pred, truth])).labels
    swapped = label_scores(*volumes([pred, truth]), merge={1: 2, 2: 1}).labels
    assert [s.dice for s in swapped] == [s.dice for s in plain][::-1]


def test_labels_without_a_name_are_scored_too():
    pred, truth = (17 * a for a in blobs(6, (12, 10, 8)))
    scores = label_scores(*volumes([pred, truth], labels=TWO[:1]))
    assert [(s.value, s.name) for s in scores.labels] == [(17, "label-17"), (34, "label-34")]


def test_mask_turns_what_is_outside_into_background():
    pred, truth = blobs(7, (12, 10, 8))
    mask = np.zeros(truth.shape, bool)
    mask[:, 2:8] = True
    scores = label_scores(*volumes([pred, truth]), mask=mask)
    expected = label_scores(*volumes([np.where(mask, a, 0) for a in (pred, truth)]))
    assert scores.labels == expected.labels
    assert (scores.mask, expected.mask) == ("given", "none")


def test_refusals():
    pred, truth = blobs(8, (12, 10, 8))
    with pytest.raises(CaseError, match="another grid"):
        label_scores(LabelVolume(pred, 2 * AFFINE), LabelVolume(truth, AFFINE))
    with pytest.raises(CaseError, match="no voxel inside"):
        label_scores(*volumes([pred, truth]), mask=np.zeros(truth.shape, bool))
    with pytest.raises(CaseError, match="another shape"):
        label_scores(*volumes([pred, truth]), mask=np.ones((3, 3, 3), bool))
