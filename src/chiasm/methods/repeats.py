"""Several translations of one source, and their mean and standard deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def sample_seed(seed: int, index: int) -> int:
    """The seed of repeat number ``index``.

    The first repeat has the run's seed, so it equals the result without ``--samples``. The seeds of
    the other repeats are derived from it. Runs with neighbouring seeds have none of them in common.
    """
    if index == 0:
        return seed
    state = np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(state[0] >> 1)


class RunningMoments:
    """Mean and standard deviation of arrays that are added one by one (Welford 1962).

    It holds at most two arrays of float64, whatever the number of arrays.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, array: np.ndarray) -> None:
        """Add one array; all arrays have one shape."""
        self.count += 1
        if self.count == 1:
            self.mean = array
            return
        change = np.asarray(array, dtype=np.float64) - self.mean
        self.mean = self.mean + change / self.count
        self._squares = self._squares + change * (array - self.mean)

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation, with N − 1 in the denominator; NaN for fewer than two arrays."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squares / (self.count - 1))


def another_acquisition(source: Tensor, foreground: Tensor, seed: int) -> Tensor:
    """Simulate another acquisition of the source: other gamma, bias field, blur and noise.

    The changes are as strong as those of the training (`chiasm.augment.contrast`), so a network
    that was trained under them has seen such sources. All network inputs of the volume have the
    same changes; only the noise differs. The images are not mirrored, because not every model was
    trained on mirrored images.

    Parameters
    ----------
    source, foreground : Tensor, shape (N, images, \\*spatial)
        All network inputs of a volume, in [0, 1], and their foreground masks.
    seed : int

    Returns
    -------
    Tensor, shape (N, images, \\*spatial)
        In [0, 1] by the volume's percentiles, and 0 outside the foreground.
    """
    import torch

    from chiasm.augment.contrast import Acquisition, ContrastSettings, normalise

    stream = torch.Generator().manual_seed(seed >> 1)
    again = Acquisition((1, *source.shape[1:]), ContrastSettings(), stream).image(source)
    return normalise(again[None], foreground[None])[0]
