"""How well the standard deviation of several translations predicts their errors."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.errors import CaseError, explain
from chiasm.scoring.common_grid import Score

# Below this diversity, the spread of the samples is less than 1 % (0.1²) of the squared error.
COLLAPSED = 0.1


class Uncertainty(BaseModel):
    """Comparison of deviation and error. NaN is null in JSON.

    Attributes
    ----------
    threshold : float
        Voxels with an absolute error above this value count as wrong.
    wrong : float
        Share of the voxels that are wrong, from 0 to 1.
    auroc : float
        Probability that a wrong voxel has a larger deviation than a right one. 1 is a perfect
        ranking and 0.5 is chance. NaN if all voxels are wrong or all are right.
    spearman : float
        Rank correlation of deviation and absolute error, −1 to 1. NaN if either is constant.
    deviation_rms, error_rms : float
        Root mean squares.
    diversity : float
        ``deviation_rms / error_rms``. It is 1 if the samples lie as far from each other as from
        the truth, and 0 if they are all equal.
    """

    model_config = ConfigDict(frozen=True)

    threshold: float
    wrong: float
    auroc: Score
    spearman: Score
    deviation_rms: float
    error_rms: float
    diversity: Score

    @property
    def warning(self) -> str | None:
        """A sentence if the samples are too similar for their deviation to indicate errors."""
        if not self.diversity < COLLAPSED:
            return None
        return (
            f"The samples hardly differ: their deviation is {self.diversity:.2f} of their error "
            f"(below {COLLAPSED:g}), so the deviation does not show the error."
        )


def uncertainty(deviation: np.ndarray, error: np.ndarray, threshold: float) -> Uncertainty:
    """Compare the deviation of samples with the error of their mean.

    Parameters
    ----------
    deviation : array of float, shape (n,)
        Standard deviation of the samples at the voxels of interest, at least 0.
    error : array of float, shape (n,)
        Mean of the samples minus the truth, in the same units.
    threshold : float
        Absolute error above which a voxel counts as wrong, in the same units.

    Raises
    ------
    CaseError
        The shapes differ, or there is no voxel.
    """
    from scipy.stats import mannwhitneyu, spearmanr

    deviation = np.asarray(deviation, dtype=np.float64)
    error = np.abs(np.asarray(error, dtype=np.float64))
    if deviation.shape != error.shape or deviation.ndim != 1 or not deviation.size:
        problem = f"does not go with errors of shape {error.shape}"
        raise CaseError(explain("deviation", deviation.shape, problem, "two lists of one length"))
    wrong = error > threshold
    auroc = spearman = np.nan
    if wrong.any() and not wrong.all():
        # The area under the curve is the Mann-Whitney U divided by the number of pairs.
        pairs = wrong.sum() * (~wrong).sum()
        auroc = mannwhitneyu(deviation[wrong], deviation[~wrong]).statistic / pairs
    if np.ptp(deviation) and np.ptp(error):
        spearman = spearmanr(deviation, error).statistic
    spread, miss = (float(np.sqrt(np.mean(x**2))) for x in (deviation, error))
    return Uncertainty(
        threshold=threshold,
        wrong=float(wrong.mean()),
        auroc=float(auroc),
        spearman=float(spearman),
        deviation_rms=spread,
        error_rms=miss,
        diversity=spread / miss if miss else np.nan,
    )
