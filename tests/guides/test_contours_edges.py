"""Contours and edges against scikit-image, and where they must lie."""

import numpy as np
import pytest
import torch
from skimage.feature import canny
from skimage.filters import sobel
from skimage.restoration import denoise_bilateral

from chiasm.errors import UsageError
from chiasm.guides import guide_from_config


def of(source, **config):
    return guide_from_config(config).prepare(source)(None, None)


def blobs(shape):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((2, 1, *(n // 4 for n in shape)), generator=generator)
    return torch.nn.functional.interpolate(coarse, size=shape, mode="nearest")


def expected_contours(image):
    return np.where(canny(image, 1.5, 0.05, 0.15, mode="nearest"), 1, -1)


def expected_edges(image):
    filtered = denoise_bilateral(image, sigma_color=0.2, sigma_spatial=1.5, mode="edge")
    power = sobel(filtered, mode="nearest") ** 2
    return power / (power + 0.1**2) * 2 - 1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "contours", "sigma": 1.5, "low": 0.05, "high": 0.15}, expected_contours),
        (
            {"name": "edges", "sigma_intensity": 0.2, "sigma_distance": 1.5, "threshold": 0.1},
            expected_edges,
        ),
    ],
    ids=["contours", "edges"],
)
def test_every_slice_is_scikit_images(config, expected):
    plane, volume = blobs((20, 24)), blobs((16, 20, 8))
    in_plane, in_volume = of(plane, **config), of(volume, **config)
    for k in range(2):
        one = expected(plane[k, 0].numpy())
        np.testing.assert_allclose(in_plane[k, 0].numpy(), one, atol=1e-5)
        assert np.ptp(one) > 1
        for z in range(8):
            one = expected(volume[k, 0, :, :, z].numpy())
            np.testing.assert_allclose(in_volume[k, 0, :, :, z].numpy(), one, atol=1e-5)


def step(height, noise=0.0):
    """Dark columns 0 to 7, bright ones from 8 on."""
    image = torch.full((1, 1, 16, 16), 0.1)
    image[..., 8:] += height
    generator = torch.Generator().manual_seed(0)
    return image + noise * torch.randn(image.shape, generator=generator)


def test_a_contour_runs_along_a_step_whichever_side_is_bright():
    ramp = step(0.5)
    ramp[..., 8] = 0.35  # so that one column is the steepest
    found = of(ramp, name="contours")
    expected = torch.full((12, 16), -1.0)
    expected[:, 8] = 1
    torch.testing.assert_close(found[0, 0, 2:-2], expected)
    torch.testing.assert_close(of(1 - ramp, name="contours"), found)


def test_an_edge_is_as_strong_as_its_step_says():
    """A step far above the filter's sigma is kept; beside it the Sobel magnitude is h/√2."""
    found = of(step(0.8), name="edges", threshold=0.2)[0, 0]
    power = 0.8**2 / 2
    beside = 2 * power / (power + 0.2**2) - 1
    torch.testing.assert_close(found[:, 7:9], torch.full((16, 2), beside), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, :6], torch.full((16, 6), -1.0), atol=1e-3, rtol=0)


def test_edges_of_noise_are_filtered_out_and_those_of_tissue_are_not():
    found = of(step(0.5, noise=0.03), name="edges")[0, 0]
    assert found[:, 7:9].min() > 0.5
    assert found[:, 2:6].mean() < -0.8
    plain = sobel(step(0.5, noise=0.03)[0, 0].numpy())[:, 2:6]
    filtered = (found[:, 2:6] + 1) / (1 - found[:, 2:6])  # (m / threshold)²
    assert 0.05**2 * float(filtered.mean()) < 0.5 * float((plain**2).mean())


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(UsageError, match="low must be at most high"):
        guide_from_config({"name": "contours", "low": 0.5})
