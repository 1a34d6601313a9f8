"""The estimator on large samples of known mutual information."""

import numpy as np
import pytest
from scipy.special import ndtri

from chiasm.lmi import patch_mutual_information


def parzen_weights(values, bins, bandwidth):
    w = np.exp(-0.5 * ((values[:, None] - np.linspace(0, 1, bins)) / bandwidth) ** 2)
    return w / w.sum(1, keepdims=True)


def even_gaussians(count):
    """Two independent standard normal samples that fill the plane evenly."""
    number = np.arange(count) + 0.5
    return ndtri(number / count), ndtri(number * (np.sqrt(5) - 1) / 2 % 1)


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.8, 0.95])
@pytest.mark.parametrize(("deviation", "bandwidth"), [(0.1, 0.02), (0.1, 0.06), (0.06, 0.03)])
def test_correlated_gaussians(correlation, deviation, bandwidth):
    # A Gaussian kernel adds its variance to both: ρ' = ρ s²/(s² + h²), MI = −½ log2(1 − ρ'²).
    first, second = even_gaussians(20_000)
    second = correlation * first + np.sqrt(1 - correlation**2) * second
    x, y = 0.5 + deviation * first, 0.5 + deviation * second
    mutual = patch_mutual_information(
        x[None], y[None], bins=64, bandwidth=bandwidth, normalized=False
    )
    seen = correlation * deviation**2 / (deviation**2 + bandwidth**2)
    np.testing.assert_allclose(mutual, -0.5 * np.log2(1 - seen**2), rtol=0, atol=5e-3)


@pytest.mark.parametrize("flipped", [0, 1, 11, 50, 90, 100])
def test_binary_symmetric_channel(flipped):
    # 100 zeros and 100 ones are sent, and so many of each arrive as the other: 1 − H(flipped/100).
    sent = np.repeat([0.25, 0.75], 100)
    arrived = np.where(np.arange(200) % 100 < flipped, 1 - sent, sent)
    mutual = patch_mutual_information(sent[None], arrived[None], normalized=False)
    e = np.clip(flipped / 100, 1e-300, 1 - 1e-16)
    expected = 1 + e * np.log2(e) + (1 - e) * np.log2(1 - e)
    np.testing.assert_allclose(mutual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("bins", "bandwidth"), [(8, 0.1), (16, 0.05), (27, 0.1), (27, 8 / 255), (40, 0.01)]
)
def test_bias_of_independent_samples(bins, bandwidth):
    # MI of K independent pairs is D²/(2 K ln 2) on average, as χ² with D² degrees of freedom,
    # D = Σ_b Var(w_b)/E(w_b): bins − 1 of a histogram; fewer, the wider the kernel.
    rng = np.random.default_rng(0)
    patches, samples = 30, 4000
    x, y = rng.uniform(size=(2, patches, samples))
    mutual = patch_mutual_information(x, y, bins=bins, bandwidth=bandwidth, normalized=False)
    w = parzen_weights(np.linspace(0, 1, 20_001), bins, bandwidth)
    degrees = np.sum(w.var(0) / w.mean(0))
    assert degrees < bins - 1
    np.testing.assert_allclose(mutual.mean(), degrees**2 / (2 * samples * np.log(2)), rtol=0.1)
