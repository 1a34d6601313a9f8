"""Foregrounds at their limits: thresholds that would not end, and too little to work on."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_li

from chiasm import api
from chiasm.errors import CaseError
from chiasm.image.foreground import foreground_mask
from chiasm.image.foreground_search import _bounded_li, _least_cross_entropy
from chiasm.image.mask import checked_foreground
from chiasm.image.volume import Volume

CHECKS = (np.indices((64, 64, 8)).sum(0) % 2 * np.float32(100)).astype(np.float32)


def test_the_iterations_of_a_checkerboard_end():
    """Those of scikit-image do not; a second process shows that it would still be running."""
    code = (
        "import numpy as np; from chiasm.image.volume import Volume;"
        "from chiasm.image.foreground import foreground_mask;"
        "a = np.indices((150, 186, 8)).sum(0) % 2 * np.float32(100);"
        "foreground_mask(Volume(a, np.eye(4))); print('ended')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "ended", done.stderr


def slow_li(array):
    """The definition: the threshold that is the logarithmic mean of what it separates."""
    values = array.astype(np.float64).ravel()
    low = values.min()
    values = values - low
    threshold = values.mean()
    for _ in range(1000):
        above, below = values[values > threshold].mean(), values[values <= threshold].mean()
        new = (below - above) / (np.log(below) - np.log(above)) if below > 0 else threshold
        if abs(new - threshold) < 1e-9:
            break
        threshold = new
    return threshold + low


@pytest.mark.parametrize("seed", range(4))
def test_an_image_that_converges_has_exactly_the_threshold_of_scikit_image(seed):
    rng = np.random.default_rng(seed)
    shape = (40, 44, 6)
    head = (((np.indices(shape).T - [20, 22, 3]) / [14, 17, 9]) ** 2).sum(-1).T <= 1
    noise = np.hypot(*rng.normal(0, 15, (2, *shape)))
    image = ndimage.gaussian_filter((head * rng.uniform(200, 800) + noise).astype(np.float32), 1)
    assert _least_cross_entropy(image) == threshold_li(image)
    assert _least_cross_entropy(image) == pytest.approx(slow_li(image), rel=1e-3)


def test_an_image_that_does_not_converge_in_float32_has_the_threshold_of_the_definition():
    noise = np.random.default_rng(2).normal(0, 0.01, CHECKS.shape)
    image = ndimage.gaussian_filter((CHECKS + noise).astype(np.float32), 1)
    assert _bounded_li(image) is None
    assert _least_cross_entropy(image) == pytest.approx(
        slow_li(image), abs=1e-3 * float(np.ptp(image))
    )


def one_block(shape, block, spacing=(1.0, 1.0, 1.0)):
    array = np.zeros(shape, np.float32)
    middle = tuple(slice((n - b) // 2, (n - b) // 2 + b) for n, b in zip(shape, block, strict=True))
    array[middle] = np.random.default_rng(0).uniform(1, 2, block)
    return Volume(array, np.diag([*spacing, 1.0]), modality="T2w")


@pytest.mark.parametrize("block", [(1, 1, 1), (2, 1, 1), (2, 2, 2), (5, 5, 5)])
def test_a_foreground_of_a_few_voxels_is_refused_before_a_network_runs(block):
    scan = one_block((40, 44, 20), block)
    with pytest.raises(CaseError, match="legal: at least 200 voxels and") as caught:
        checked_foreground(None, scan)
    assert str(caught.value).startswith("image <Volume T2w 40×44×20")
    for call in (api.translate, api.segment):
        with pytest.raises(CaseError, match="foreground of"):
            call(scan)


def test_a_foreground_of_many_tiny_voxels_is_refused_too():
    spacing = (0.02, 0.02, 0.02)
    with pytest.raises(CaseError, match="mL"):
        checked_foreground(None, one_block((40, 44, 20), (20, 20, 10), spacing))
    assert checked_foreground(None, one_block((40, 44, 20), (20, 20, 10))).sum() > 3000


def test_a_mask_of_a_few_voxels_is_refused():
    scan = one_block((40, 44, 20), (20, 20, 10))
    mask = np.zeros(scan.shape, np.uint8)
    mask[20, 22, 10] = 1
    with pytest.raises(CaseError, match="foreground of 1 voxels"):
        api.translate(scan, mask=mask)


def test_a_single_voxel_that_differs_is_the_foreground():
    scan = one_block((40, 44, 20), (1, 1, 1))
    assert foreground_mask(scan).sum() == 1
