"""DiffSeg against partitions that are known, and its distance against scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from chiasm.diffusion.attention import AttentionMap
from chiasm.errors import UsageError
from chiasm.segmenters.attention_merging import (
    MergeSettings,
    aggregated,
    anchor_rows,
    distance,
    merge,
    segments,
)

SIZE = (12, 16)


def partition():
    """Four segments of different sizes, one of them in two pieces."""
    labels = np.zeros(SIZE, int)
    labels[:, 9:] = 1
    labels[2:6, 2:6] = 2
    labels[8:, 12:] = labels[:3, 14:] = 3
    return labels


def attention_of(labels, noise=0.0, seed=0):
    """Each pixel attends to its own segment, nearly evenly, and hardly to the others."""
    flat = labels.ravel()
    same = (flat[:, None] == flat[None, :]).astype(np.float64)
    rng = np.random.default_rng(seed)
    weights = same * np.exp(noise * rng.standard_normal(same.shape)) + 1e-3
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()


def is_same_partition(found, expected):
    pairs = {*zip(np.ravel(found).tolist(), np.ravel(expected).tolist(), strict=True)}
    return len(pairs) == len(np.unique(found)) == len(np.unique(expected))


def test_distance_is_half_the_symmetric_divergence():
    rng = np.random.default_rng(1)
    first, second = (rng.dirichlet(np.ones(9), size=k) for k in (3, 4))
    found = distance(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    expected = [[(entropy(p, q) + entropy(q, p)) / 2 for q in second] for p in first]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_probability_of_zero_is_no_error():
    sure = torch.eye(3)
    found = distance(sure, sure)
    assert torch.isfinite(found).all()
    assert (found.diag() == 0).all()


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_known_partition_is_found(noise):
    expected = partition()
    attention = attention_of(expected, noise)
    proposals = merge(attention, SIZE, MergeSettings(threshold=1.0, anchors=8))
    assert len(proposals) == 4
    torch.testing.assert_close(proposals.sum(dim=1), torch.ones(4))
    assert is_same_partition(segments(proposals, SIZE, SIZE), expected)


def test_a_larger_threshold_merges_what_is_less_alike():
    # Segments 0 and 2 attend to each other half as much as to themselves.
    labels = partition()
    attention = attention_of(labels)
    near = attention_of(np.where(labels == 2, 0, labels))
    attention = (attention + 2 * near) / 3
    fine = merge(attention, SIZE, MergeSettings(threshold=0.05, anchors=8))
    coarse = merge(attention, SIZE, MergeSettings(threshold=1.0, anchors=8))
    assert is_same_partition(segments(fine, SIZE, SIZE), labels)
    assert is_same_partition(segments(coarse, SIZE, SIZE), np.where(labels == 2, 0, labels))


def test_more_rounds_leave_one_proposal_for_each_segment():
    attention = attention_of(partition())
    one = merge(attention, SIZE, MergeSettings(anchors=8, rounds=1))
    assert len(one) == 64
    assert len(merge(attention, SIZE, MergeSettings(anchors=8, rounds=2))) == 4


@pytest.mark.parametrize("count", [1, 3, 16, 40])
def test_anchors_lie_evenly_in_the_image(count):
    rows = anchor_rows(SIZE, count)
    i, j = rows // SIZE[1], rows % SIZE[1]
    assert len(rows) == min(count, SIZE[0]) * min(count, SIZE[1])
    assert abs(float(i.float().mean()) - (SIZE[0] - 1) / 2) <= 0.5
    assert abs(float(j.float().mean()) - (SIZE[1] - 1) / 2) <= 0.5


def as_map(weights, size, layer="a", cross=False):
    return AttentionMap(layer, cross, weights[None], weights[None], size)


def test_one_map_of_the_same_size_stays_what_it_is():
    attention = attention_of(partition(), 0.3)
    torch.testing.assert_close(aggregated([as_map(attention, SIZE)], SIZE), attention)


def test_maps_of_two_sizes_are_weighted_by_their_width():
    fine, coarse = attention_of(partition(), 0.3), torch.full((6 * 8, 6 * 8), 1 / 48)
    text = as_map(torch.full((SIZE[0] * SIZE[1], 5), 0.2), SIZE, cross=True)
    both = aggregated([as_map(fine, SIZE), text, as_map(coarse, (6, 8))], SIZE)
    even = torch.full_like(fine, 1 / fine.shape[1])
    torch.testing.assert_close(both, (16 * fine + 8 * even) / 24)
    torch.testing.assert_close(both.sum(dim=1), torch.ones(len(fine)))


def test_a_coarse_map_is_repeated_for_the_pixels_of_each_query():
    coarse = torch.eye(4)
    fine = aggregated([as_map(coarse, (2, 2))], (4, 4))
    torch.testing.assert_close(fine[0], fine[5])  # both lie in the first quarter
    assert fine[0].view(4, 4).argmax() == 0
    assert fine[15].view(4, 4).argmax() == 15


def test_segments_are_numbered_without_gaps_at_any_size():
    proposals = torch.zeros(3, 4)
    proposals[0, :2], proposals[2, 2:] = 0.5, 0.5
    found = segments(proposals, (2, 2), (6, 4))
    assert found.shape == (6, 4)
    assert found[:3].unique().tolist() == [0]
    assert found[3:].unique().tolist() == [1]


def test_a_network_without_self_attention_is_named():
    with pytest.raises(UsageError, match="a model with self-attention"):
        aggregated([as_map(torch.ones(4, 3) / 3, (2, 2), cross=True)], SIZE)
