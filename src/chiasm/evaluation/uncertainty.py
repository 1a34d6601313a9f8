"""How well the deviation of several translations tells where, and by how much, they are wrong."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.errors import CaseError, explain
from chiasm.evaluation.common_grid import Score

# Below it, the samples' spread accounts for less than 1 % (0.1²) of the squared error.
COLLAPSED = 0.1


class Uncertainty(BaseModel):
    """Deviation beside error; NaN is null in JSON.

    Attributes
    ----------
    threshold : float
        Above which an absolute error counts as an error.
    wrong : float
        Share of the voxels above it.
    auroc : float
        Chance that of a voxel above and one below the threshold, the one above deviates more: 1
        is a perfect ranking, 0.5 none; NaN where all voxels are on one side.
    spearman : float
        Rank correlation of deviation and absolute error, −1 to 1; NaN where either is constant.
    deviation_rms, error_rms : float
        Root mean squares.
    diversity : float
        ``deviation_rms / error_rms``: 1 where samples lie as far from each other as from the
        truth, 0 where they have collapsed into one.
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
        """In words, if the samples are too alike for their deviation to say how wrong they are."""
        if not self.diversity < COLLAPSED:
            return None
        return (
            f"the samples hardly differ: their deviation is {self.diversity:.2f} of their error "
            f"(below {COLLAPSED:g}), so the guide leaves no freedom and the deviation hides the "
            "error"
        )


def uncertainty(deviation: np.ndarray, error: np.ndarray, threshold: float) -> Uncertainty:
    """Rank the errors of a mean of samples by the samples' deviation.

    Parameters
    ----------
    deviation : array of float, shape (n,)
        Standard deviation of the samples at the voxels to judge, at least 0.
    error : array of float, shape (n,)
        Mean of the samples minus the truth, in the same units.
    threshold : float
        In the same units.

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
        # The area under the curve is the Mann-Whitney U, as a share of all pairs.
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
