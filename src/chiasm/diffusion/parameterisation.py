"""What a denoising network predicts, and x0 from it.

With x_t = α·x0 + σ·ε and α² + σ² = 1 (variance preserving).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Parameterisation(ABC):
    """One choice of what the network predicts."""

    divides_by_signal = False  # x0 has no finite estimate where α = 0

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network should have predicted."""

    @abstractmethod
    def x0(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean sample that a prediction means."""

    @abstractmethod
    def min_snr(self, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
        """Weight of a squared error of the prediction: min(SNR, γ) of x0's (Hang et al. 2023).

        SNR = α²/σ². The same weight in every parameterisation: times what an error of x0 becomes
        in the prediction, squared.
        """


class Epsilon(Parameterisation):
    """The noise ε (Ho et al. 2020): x0 = (x_t − σ·ε) / α."""

    divides_by_signal = True

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
