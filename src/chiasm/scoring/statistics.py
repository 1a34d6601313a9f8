"""Intervals and tests over subjects, and the share of the gap that a translation closes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chiasm.errors import UsageError, explain


class PairedTest(NamedTuple):
    """Comparison of two methods on the same subjects.

    ``difference`` is the mean of a − b, with the 95 % bootstrap interval from ``low`` to ``high``.
    ``p_value`` is that of the two-sided Wilcoxon signed-rank test. ``subjects`` is the number of
    pairs.
    """

    difference: float
    low: float
    high: float
    p_value: float
    subjects: int


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of the mean (Efron 1987).

    Parameters
    ----------
    values : array of float, shape (N,)
        One value for each subject. NaN, which stands for a missing score, is left out.
    level : float
        Coverage of the interval, between 0 and 1.
    resamples : int
        Number of bootstrap resamples.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    low, high : float
        In the units of ``values``. Both are NaN for fewer than two subjects, or if a value is
        infinite (the distance to a structure that was missed).

    Raises
    ------
    UsageError
        ``level`` is not between 0 and 1, or ``resamples`` is below 1.
    """
    from scipy.stats import bootstrap

    if not 0 < level < 1:
        raise UsageError(explain("level", level, "is not a coverage", "between 0 and 1"))
    if resamples < 1:
        raise UsageError(explain("resamples", resamples, "is too few", "at least 1"))
    values = np.asarray(values, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if values.size < 2 or np.isinf(values).any():
        return math.nan, math.nan
    if np.ptp(values) <= 1e-12 * np.abs(values).max():  # equal values have no acceleration
        return float(values.min()), float(values.max())
    interval = bootstrap(
        (values,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def gap_closure_interval(
    dice: Sequence[float] | np.ndarray,
    dice_none: Sequence[float] | np.ndarray,
    dice_real: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """BCa bootstrap interval over subjects (Efron 1987) of the `gap_closure` of the means.

    Each subject is drawn with all three of its scores, so the floor and the ceiling vary too.

    Parameters
    ----------
    dice, dice_none, dice_real : array of float, shape (N,)
        Finite scores of the same subjects in the same order; see `gap_closure`.
    level, resamples, seed
        As in `bootstrap_interval`.

    Returns
    -------
    low, high : float
        Both are NaN for fewer than two subjects, or if there is no gap.

    Raises
    ------
    UsageError
        The lengths differ.
    """
    from scipy.stats import bootstrap

    samples = [np.asarray(one, dtype=np.float64) for one in (dice, dice_none, dice_real)]
    if len({one.shape for one in samples}) > 1 or samples[0].ndim != 1:
        problem = f"do not pair: {[one.shape for one in samples]}"
        raise UsageError(explain("scores", "", problem, "three lists of one length"))
    if samples[0].size < 2:
        return math.nan, math.nan

    def closed(dice: np.ndarray, none: np.ndarray, real: np.ndarray, axis: int = -1) -> np.ndarray:
        floor = none.mean(axis=axis)
        return (dice.mean(axis=axis) - floor) / (real.mean(axis=axis) - floor)

    with np.errstate(divide="ignore", invalid="ignore"):
        without_one = [(one.sum() - one)[:, None] for one in samples]
        left = closed(*without_one)
        if np.ptp(left) <= 1e-12:  # true for the floor, the ceiling and equal subjects
            return float(left[0]), float(left[0])
        interval = bootstrap(
            samples,
            closed,
            paired=True,
            confidence_level=level,
            n_resamples=resamples,
            method="BCa",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else (math.nan, math.nan)


def paired_test(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> PairedTest:
    """Test whether two methods score differently on the same subjects.

    Parameters
    ----------
    a, b : array of float, shape (N,)
        Scores of the same subjects in the same order. Pairs are left out if one score is NaN or
        both are infinite.

    Raises
    ------
    UsageError
        The lengths differ.
    """
    from scipy.stats import wilcoxon

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        problem = f"does not pair with {b.shape}"
        raise UsageError(explain("scores", a.shape, problem, "two lists of one length"))
    with np.errstate(invalid="ignore"):  # the difference of two infinities is NaN
        difference = a - b
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        return PairedTest(math.nan, math.nan, math.nan, math.nan, 0)
    low, high = bootstrap_interval(difference)
    # Equal scores have no signed ranks, and the test is not needed.
    p_value = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return PairedTest(float(difference.mean()), low, high, p_value, difference.size)


def gap_closure(dice: float, dice_none: float, dice_real: float) -> float:
    """The share of the gap that is closed, G = (Dice − Dice_none) / (Dice_real − Dice_none).

    Parameters
    ----------
    dice : float
        Dice of the segmentation of the translated image.
    dice_none : float
        Dice of the segmentation of the untranslated source, where G = 0.
    dice_real : float
        Dice of the segmentation of the real target image, where G = 1.

    Raises
    ------
    UsageError
        ``dice_real`` equals ``dice_none``, so there is no gap.
    """
    gap = dice_real - dice_none
    if abs(gap) < 1e-9:
        problem = f"equals that of the untranslated source, {dice_none:g}, so there is no gap"
        raise UsageError(
            explain("Dice of the real image", f"{dice_real:g}", problem, "two different values")
        )
    return (dice - dice_none) / gap
