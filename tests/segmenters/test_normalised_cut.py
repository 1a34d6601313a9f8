"""The normalised cut against its definition and against the best of all cuts."""

import itertools

import numpy as np
import pytest

from chiasm.segmenters.normalised_cut import (
    CutSettings,
    affinity,
    bisected,
    cut_value,
    recursive_cut,
)


def random_graph(seed, nodes=9):
    rng = np.random.default_rng(seed)
    return affinity(rng.standard_normal((nodes, 3)) + 0.5, 2)


def slow_cut(weights, inside):
    """The definition, edge by edge."""
    nodes = range(len(weights))
    cut = sum(weights[i, j] for i in nodes for j in nodes if inside[i] and not inside[j])
    own = sum(weights[i, j] for i in nodes for j in nodes if inside[i])
    other = sum(weights[i, j] for i in nodes for j in nodes if not inside[i])
    return cut / own + cut / other


@pytest.mark.parametrize("seed", range(5))
def test_the_value_is_its_definition(seed):
    weights = random_graph(seed)
    inside = np.random.default_rng(seed).permutation([True] * 4 + [False] * 5)
    assert cut_value(weights, inside) == pytest.approx(slow_cut(weights, inside))


def blocks(sizes, crossing):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.where(labels[:, None] == labels[None, :], 1.0, crossing)
    return weights, labels


@pytest.mark.parametrize("seed", range(4))
def test_two_blocks_are_cut_where_the_best_of_all_cuts_is(seed):
    weights, _ = blocks((4, 5), 0.1)
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 0.15, weights.shape)
    weights = weights + noise + noise.T
    order = rng.permutation(9)
    weights = weights[np.ix_(order, order)]
    every = (np.array((True, *rest)) for rest in itertools.product((True, False), repeat=8))
    best = min(cut_value(weights, inside) for inside in every if not inside.all())
    inside, value = bisected(weights, 50)
    assert value == pytest.approx(best)
    assert cut_value(weights, inside) == pytest.approx(best)


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
