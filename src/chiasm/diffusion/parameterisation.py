"""Parameterisations: the quantity that a denoising network predicts, and how x0 follows from it.

The process is variance preserving: x_t = α·x0 + σ·ε with α² + σ² = 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Parameterisation(ABC):
    """A quantity that the network predicts."""

    divides_by_alpha = False  # whether x0 has no finite estimate at α = 0

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The correct prediction."""

    @abstractmethod
    def x0(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean sample that corresponds to a prediction."""

    @abstractmethod
    def min_snr(self, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
        """Weight of a squared error of the prediction (Hang et al. 2023).

        A squared error of x0 has the weight min(SNR, γ) with SNR = α²/σ². The weight returned
        here gives the same loss in terms of the prediction.
        """


class Epsilon(Parameterisation):
    """The noise ε (Ho et al. 2020): x0 = (x_t − σ·ε) / α."""

    divides_by_alpha = True

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return noise

    def x0(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (x_t - sigma * output) / alpha

    def min_snr(self, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
        return (gamma * (sigma / alpha) ** 2).clamp(max=1)  # min(SNR, γ) / SNR


class Sample(Parameterisation):
    """The clean sample x0 itself."""

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return x0

    def x0(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return output

    def min_snr(self, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
        return ((alpha / sigma) ** 2).clamp(max=gamma)


class Velocity(Parameterisation):
    """v = α·ε − σ·x0 (Salimans & Ho 2022): x0 = α·x_t − σ·v."""

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * noise - sigma * x0

    def x0(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * x_t - sigma * output

    def min_snr(self, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
        return ((alpha / sigma) ** 2).clamp(max=gamma) * sigma**2  # min(SNR, γ) / (SNR + 1)
