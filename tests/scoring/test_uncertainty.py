"""Ranking of errors by deviation, against all pairs and hand-made lists."""

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.scoring import uncertainty


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    deviation = rng.integers(0, 6, 60) / 5  # with ties, which count half
    error = rng.normal(0, 1, 60) * (deviation + 0.3)
    wrong = np.abs(error) > 0.5
    pairs = deviation[wrong][:, None] - deviation[~wrong][None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    scores = uncertainty(deviation, error, 0.5)
    assert scores.auroc == pytest.approx(expected, abs=1e-12)
    assert scores.wrong == wrong.mean()


def test_spearman_is_pearson_of_ranks():
    deviation = np.array([0.1, 0.4, 0.2, 0.9, 0.3])
    error = np.array([-1.0, 2.0, 3.0, -5.0, 0.5])
    ranks = np.array([1, 4, 2, 5, 3]), np.array([2, 3, 4, 5, 1])  # of |error| the second
    scores = uncertainty(deviation, error, 1.5)
    assert scores.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)
    assert scores.spearman != pytest.approx(np.corrcoef(deviation, np.abs(error))[0, 1])


def test_deviation_that_tells_all_and_one_that_tells_the_opposite():
    error = np.linspace(-1, 1, 40)
    assert uncertainty(np.abs(error) ** 3, error, 0.5).auroc == 1
    assert uncertainty(np.abs(error) ** 3, error, 0.5).spearman == pytest.approx(1)
    assert uncertainty(1 - np.abs(error), error, 0.5).auroc == 0


def test_diversity_is_of_root_mean_squares_and_warns_when_low():
    error, deviation = np.array([3.0, -4.0]), np.array([1.0, 0.0])
    scores = uncertainty(deviation, error, 1.0)
    assert scores.diversity == pytest.approx(np.sqrt(0.5) / np.sqrt(12.5))
    assert scores.warning is None
    collapsed = uncertainty(deviation * 0.1, error, 1.0)
    assert "hardly differ" in collapsed.warning
    assert "0.02" in collapsed.warning


def test_where_nothing_can_be_ranked_there_is_no_number():
    scores = uncertainty(np.zeros(4), np.array([0.1, 0.2, 0.3, 0.4]), 9.0)
    assert np.isnan(scores.auroc)
    assert np.isnan(scores.spearman)
    assert '"auroc":null' in scores.model_dump_json()


def test_lists_of_two_lengths_are_refused():
    with pytest.raises(CaseError, match="one length"):
        uncertainty(np.zeros(3), np.zeros(4), 1.0)
