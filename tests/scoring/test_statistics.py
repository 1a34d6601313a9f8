"""Bootstrap intervals, paired tests and gap closure against analytic answers."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata

from chiasm.errors import UsageError
from chiasm.scoring import (
    bootstrap_interval,
    gap_closure,
    gap_closure_interval,
    paired_test,
)


@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.8, 1.281552)])
def test_interval_of_many_values_is_the_normal_one(level, z):
    values = np.random.default_rng(0).normal(3, 2, 3000)
    error = values.std(ddof=1) / np.sqrt(values.size)
    low, high = bootstrap_interval(values, level=level, resamples=4000)
    assert low == pytest.approx(values.mean() - z * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + z * error, abs=0.15 * error)


def test_interval_of_skewed_values_leans_as_theory_says():
    values = np.random.default_rng(5).exponential(size=80)
    n, z = values.size, 1.959964
    error = values.std() / np.sqrt(n)
    skewness = np.mean((values - values.mean()) ** 3) / values.std() ** 3
    # Second-order endpoints of BCa intervals (Hall 1988, Ann. Statist. 16:927).
    shift = skewness * (2 * z**2 + 1) / (6 * np.sqrt(n))
    low, high = bootstrap_interval(values, resamples=20_000)
    assert low == pytest.approx(values.mean() + (shift - z) * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + (shift + z) * error, abs=0.1 * error)


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(size=40), level=0.8, resamples=300)
        hits += low <= 0 <= high
    assert 0.7 < hits / 200 < 0.9  # 0.8 ± 3.5 standard errors


def test_interval_ignores_nan_and_repeats_with_its_seed():
    values = np.random.default_rng(2).random(12)
    expected = bootstrap_interval(values)
    assert bootstrap_interval([*values, np.nan]) == expected
    assert bootstrap_interval(values, seed=1) != expected


@pytest.mark.parametrize("values", [[], [0.7], [np.nan, 0.7], [1.0, 2.0, np.inf]])
def test_interval_of_too_little_is_unknown(values):
    assert np.isnan(bootstrap_interval(values)).all()


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_interval_of_equal_values_is_that_value(value):
    assert bootstrap_interval([value] * 4) == (value, value)


def test_interval_refuses_what_is_no_level():
    with pytest.raises(UsageError, match="between 0 and 1"):
        bootstrap_interval([1.0, 2.0], level=95)
    with pytest.raises(UsageError, match="at least 1"):
        bootstrap_interval([1.0, 2.0], resamples=0)


def test_paired_test_is_the_exact_permutation_of_signs():
    rng = np.random.default_rng(3)
    b = rng.random(9)
    a = b + rng.normal(0.1, 0.2, 9)
    ranks = rankdata(abs(a - b))
    observed = abs((ranks * np.sign(a - b)).sum())
    signs = np.array(list(product([-1, 1], repeat=9)))
    expected = np.mean(abs(signs @ ranks) >= observed)
    result = paired_test(a, b)
    assert result.p_value == pytest.approx(expected)
    assert result.difference == pytest.approx(np.mean(a - b))
    assert (result.low, result.high) == bootstrap_interval(a - b)
    assert result.subjects == 9


def test_paired_test_leaves_out_pairs_that_lack_a_score():
    a, b = np.random.default_rng(4).random((2, 8))
    with_gaps = paired_test([*a, np.nan, 1.0, np.inf], [*b, 1.0, np.nan, np.inf])
    assert with_gaps == paired_test(a, b)


@pytest.mark.filterwarnings("error")
def test_paired_test_of_equal_scores_finds_nothing():
    assert paired_test([0.5, 0.6], [0.5, 0.6]) == (0, 0, 0, 1, 2)
    assert paired_test([np.nan], [0.5]).subjects == 0


def test_paired_test_refuses_lists_that_do_not_pair():
    with pytest.raises(UsageError, match="one length"):
        paired_test([1, 2, 3], [1, 2])


def test_gap_closure():
    assert gap_closure(0.7, 0.5, 0.9) == pytest.approx(0.5)
    assert gap_closure(0.5, 0.5, 0.9) == 0
    assert gap_closure(0.9, 0.5, 0.9) == 1
    assert gap_closure(0.4, 0.5, 0.9) == pytest.approx(-0.25)
    with pytest.raises(UsageError, match="no gap"):
        gap_closure(0.7, 0.6, 0.6)


def test_gap_interval_of_the_floor_is_0_and_of_the_ceiling_1():
    none, real = np.random.default_rng(5).random((2, 7)) * 0.1 + [[0.2], [0.8]]
    assert gap_closure_interval(none, none, real) == (0, 0)
    assert gap_closure_interval(real, none, real) == (1, 1)


def test_gap_interval_is_that_of_the_mean_where_floor_and_ceiling_are_fixed():
    dice = np.random.default_rng(6).random(9)
    expected = [(end - 0.2) / 0.7 for end in bootstrap_interval(dice)]
    assert gap_closure_interval(dice, [0.2] * 9, [0.9] * 9) == pytest.approx(expected, abs=1e-9)


def test_gap_interval_covers_the_gap_as_often_as_it_says():
    rng, hits = np.random.default_rng(7), 0
    for _ in range(200):
        level = rng.normal(0, 0.1, 30)  # some subjects are harder than others
        none, real = 0.2 + level + rng.normal(0, 0.02, 30), 0.9 + level
        dice = none + 0.6 * (real - none) + rng.normal(0, 0.05, 30)
        low, high = gap_closure_interval(dice, none, real, level=0.8, resamples=300)
        hits += low <= 0.6 <= high
    assert 0.7 < hits / 200 < 0.9  # 0.8 ± 3.5 standard errors


def test_gap_interval_of_too_little_is_unknown_and_of_lists_that_do_not_pair_refused():
    assert np.isnan(gap_closure_interval([0.5], [0.2], [0.9])).all()
    with pytest.raises(UsageError, match="one length"):
        gap_closure_interval([0.5, 0.6], [0.2], [0.9])
