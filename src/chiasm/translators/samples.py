"""Several translations of one source: how they come to differ, and their mean and deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def sample_seed(seed: int, index: int) -> int:
    """The seed of sample ``index``: of the first the run's own, of the others one derived from it.

    So one sample is what it is without ``--samples``, and runs of neighbouring seeds share none.
    """
    if index == 0:
        return seed
    state = np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(state[0] >> 1)


class RunningMoments:
    """Mean and standard deviation of arrays that come one by one (Welford 1962).

    Memory is that of two arrays of float64, however many come.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, array: np.ndarray) -> None:
        """One more; all of one shape."""
        self.count += 1
        change = np.asarray(array, dtype=np.float64) - self.mean
        self.mean = self.mean + change / self.count
        self._squares = self._squares + change * (array - self.mean)

    @property
    def deviation(self) -> np.ndarray:
        """With N − 1 in the denominator; of fewer than two arrays, NaN."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squares / (self.count - 1))


def another_acquisition(source: Tensor, head: Tensor, seed: int) -> Tensor:
    """The source under another gamma, bias, blur and noise: the same contrast, scanned again.

    As strong as the training's own (`chiasm.guides.randomise`), so that a network that was trained
    under it has met such sources. One draw for all parts, but of the noise; images are not
    mirrored: not every model has seen that.

    Parameters
    ----------
    source, head : Tensor, shape (N, images, \\*spatial)
        All parts of a volume, in [0, 1]; True where its head is.
    seed : int

    Returns
    -------
    Tensor, shape (N, images, \\*spatial)
        In [0, 1] by the volume's percentiles, 0 outside the head.
    """
    import torch

    from chiasm.guides.randomise import Acquisition, ContrastSettings, normalise

    stream = torch.Generator().manual_seed(seed >> 1)
    again = Acquisition((1, *source.shape[1:]), ContrastSettings(), stream).image(source)
    return normalise(again[None], head[None])[0]
