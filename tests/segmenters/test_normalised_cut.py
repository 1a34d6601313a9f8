"""The normalised cut of graphs whose parts are known."""

import numpy as np
import pytest

from chiasm.segmenters.normalised_cut import CutSettings, affinity, recursive_cut


def blocks(sizes, crossing):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.where(labels[:, None] == labels[None, :], 1.0, crossing)
    return weights, labels


@pytest.mark.parametrize("sizes", [(6, 6), (3, 9, 20), (5, 5, 5, 5), (30,)])
def test_blocks_are_found_whatever_their_order(sizes):
    weights, labels = blocks(sizes, 0.02)
    order = np.random.default_rng(3).permutation(len(labels))
    found = recursive_cut(weights[np.ix_(order, order)], CutSettings(threshold=0.5))
    assert len({*zip(found, labels[order], strict=True)}) == len(sizes) == found.max() + 1


def test_a_smaller_threshold_leaves_larger_parts():
    weights, _ = blocks((8, 8), 0.3)  # Ncut of the halves: 2 · 0.3 / 1.3
    assert recursive_cut(weights, CutSettings(threshold=0.4)).max() == 0
    assert recursive_cut(weights, CutSettings(threshold=0.5)).max() == 1


def test_affinity_is_the_power_of_the_cosine():
    features = np.array([[1.0, 0], [2, 2], [-1, 0], [0, 0]])
    found = affinity(features, 10)
    expected = np.array([[1, 0.5**5, 0, 0], [0.5**5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_smallest_graphs(nodes):
    found = recursive_cut(np.ones((nodes, nodes)), CutSettings(threshold=0.5))
    assert found.tolist() == [0] * nodes
