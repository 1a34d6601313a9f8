"""The published operator against numbers that the published layer printed, and its formulas.

``published_20x20.npz`` holds inputs and outputs of the layer of Wang et al. (arXiv 2404.01102; 3×3
patches, 27 bins, normalised), run once on two 128×128 slices, of which rows 66 to 85 and columns 57
to 76 are kept, and on 64 pairs of random patches. The environment variable ``CHIASM_GOLDEN`` may
name a file of the same arrays for the whole slices, which is then compared too.
"""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import chiasm.lmi
from chiasm.errors import UsageError
from chiasm.lmi import LMISettings
from published.lmi import (
    NumbaEngine,
    TorchEngine,
    local_mutual_information,
    patch_scores,
    prepare,
)

KEPT = Path(__file__).with_name("published_20x20.npz")
GOLDEN = np.load(KEPT)
FILES = [str(KEPT)]
if whole := os.environ.get("CHIASM_GOLDEN"):
    FILES.append(whole)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("pair", ["t2_t1", "t2_t2", "t1_t1", "t2_xt"])
def test_maps_the_layer_printed(pair, file):
    with np.load(file) as golden:
        source, other = (golden[name] for name in pair.split("_"))
        expected = golden[f"map_{pair}"]
    scores = local_mutual_information(source, other)
    # At the border of a crop the layer saw pixels that the crop lacks.
    inner = slice(1, -1) if file == str(KEPT) else slice(None)
    np.testing.assert_allclose(scores[inner, inner], expected[inner, inner], rtol=0, atol=1e-4)


def test_the_defect_is_reproduced_and_the_product_has_it_not():
    source, other = GOLDEN["t2"], GOLDEN["xt"]
    assert GOLDEN["map_t2_xt"][1:-1, 1:-1].max() > 1.99
    assert local_mutual_information(source, other).max() > 1.99
    assert chiasm.lmi.local_mutual_information(source, other).max() <= 1


@pytest.mark.parametrize(("normalized", "name"), [(True, "pair_nmi"), (False, "pair_mi")])
def test_pairs_the_layer_printed(normalized, name):
    x, y = (torch.from_numpy(GOLDEN[one]).flatten(1).double() for one in ("P", "Q"))
    scores = patch_scores(x, y, LMISettings(normalized=normalized))
    np.testing.assert_allclose(scores, GOLDEN[name], rtol=0, atol=1e-5)


def slow_scores(source, other, bins=27, bandwidth=8 / 255, normalized=True):
    """Scores (9, H, W) of the published layer: mosaic, grey levels and ε as it has them."""
    eps = 1e-10
    height, width = source.shape
    centres = np.linspace(0, 255, bins)

    def weights(patch):
        levels = (np.float32(255) * np.ravel(patch).astype(np.float32)).astype(int)
        return np.exp(-0.5 * ((levels[:, None] - centres) / (255 * bandwidth)) ** 2)

    def bits(mass):
        p = mass / (mass.sum() + eps)
        return -np.sum(p * np.log2(p + eps))

    inside, outside = np.pad(source, 1), np.pad(other, 1)
    mosaic = np.zeros((3 * height + 2, 3 * width + 2), source.dtype)
    for i, j in np.ndindex(height, width):
        mosaic[1 + 3 * i : 4 + 3 * i, 1 + 3 * j : 4 + 3 * j] = outside[i : i + 3, j : j + 3]
    scores = np.empty((9, height, width))
    for i, j in np.ndindex(height, width):
        wx = weights(inside[i : i + 3, j : j + 3])
        for n, (u, v) in enumerate(product(range(3), repeat=2)):
            wy = weights(mosaic[3 * i + u : 3 * i + u + 3, 3 * j + v : 3 * j + v + 3])
            hx, hy = bits(wx.mean(0)), bits(wy.mean(0))
            mutual = hx + hy - bits(wx.T @ wy)
            scores[n, i, j] = 2 * (mutual + eps) / (hx + hy + eps) if normalized else mutual
    return scores


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("settings", [{}, {"bins": 16, "bandwidth": 0.05}, {"bandwidth": 0.3 / 26}])
def test_equals_its_formulas_up_to_the_border(normalized, settings):
    rng = np.random.default_rng(0)
    source = rng.uniform(size=(6, 7)).astype(np.float32)
    other = rng.normal(0.5, 1, (6, 7)).astype(np.float32)
    scores = prepare(source, normalized=normalized, **settings)(other, reduce="none")
    expected = slow_scores(source, other, normalized=normalized, **settings)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("normalized", [True, False])
def test_the_engines_agree(normalized):
    rng = np.random.default_rng(3)
    source, other = torch.from_numpy(rng.uniform(-0.2, 1.2, (2, 2, 1, 13, 19)).astype(np.float32))
    prepared = prepare(source, normalized=normalized)
    assert isinstance(prepared.engine, NumbaEngine)
    slow = TorchEngine(source[:, 0], prepared.settings, pixels_at_once=97)
    for reduce in ("max", "none"):
        expected = slow(other[:, 0], every_offset=reduce == "none")
        torch.testing.assert_close(prepared(other, reduce=reduce), expected, rtol=0, atol=2e-5)


def test_number_of_threads_does_not_matter():
    source, other = np.random.default_rng(4).uniform(size=(2, 40, 41)).astype(np.float32)
    prepared = prepare(source)
    expected = prepared(other)
    torch.set_num_threads(3)
    np.testing.assert_array_equal(prepared(other), expected)


def test_batch_equals_one_by_one():
    source, other = np.random.default_rng(1).uniform(-0.5, 1.5, (2, 3, 1, 11, 13))
    together = local_mutual_information(source, other)
    for x, y, scores in zip(source, other, together, strict=True):
        one = local_mutual_information(x[0], y[0])
        np.testing.assert_allclose(scores[0], one, rtol=0, atol=1e-6)


def test_values_without_grey_level_are_no_error():
    source = np.random.default_rng(2).uniform(size=(5, 6))
    far, farther = np.full((5, 6), 1e30), np.full((5, 6), np.inf)
    first, second = (local_mutual_information(source, other) for other in (far, farther))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[1:-1, 1:-1], 2, atol=1e-5)


IMAGE = np.zeros((6, 7), np.float32)


@pytest.mark.parametrize(
    ("source", "other", "named"),
    [
        (np.zeros((3, 6, 7)), IMAGE, r"source \(3, 6, 7\)"),
        (IMAGE.astype(int), IMAGE, "source .*int64"),
        (IMAGE, IMAGE[:5], r"other \(5, 7\)"),
        (IMAGE, np.full((6, 7), np.nan), "other .*NaN"),
        (IMAGE, [[0.0]], "other list"),
    ],
)
def test_refusals_name_argument_and_value(source, other, named):
    with pytest.raises(UsageError, match=f"^{named}"):
        local_mutual_information(source, other)
    with pytest.raises(UsageError, match=r"^reduce offset"):
        prepare(IMAGE)(IMAGE, reduce="offset")
