"""The engines against a float64 NumPy definition, and against one another."""

import numpy as np
import pytest
import torch
from lmi_numpy import every_score, mutual_information

from chiasm.lmi import LMISettings, local_mutual_information, patch_mutual_information, prepare
from chiasm.lmi.cpu import NumbaEngine
from chiasm.lmi.definition import Definition

CASES = {
    "default": ((9, 11), {}),
    "bits": ((9, 11), {"normalized": False}),
    "patch 5": ((9, 10), {"patch_size": 5}),
    "patch larger than a run": ((7, 8), {"patch_size": 17, "search_size": 1}),
    "patch 7, no search": ((9, 10), {"patch_size": 7, "search_size": 1}),
    "search 5, 64 bins": ((6, 7), {"search_size": 5, "bins": 64}),
    "8 bins": ((9, 10), {"bins": 8, "bandwidth": 0.1}),
    "wide kernel": ((9, 10), {"bandwidth": 0.3, "normalized": False}),
    "2 bins": ((9, 10), {"bins": 2, "bandwidth": 0.4}),
    "just not narrow": ((9, 10), {"bandwidth": 0.41 / 26}),
    "narrow": ((9, 10), {"bandwidth": 0.35 / 26}),
    "narrowest": ((9, 10), {"bandwidth": 0.25 / 26}),
    "more bins than bits": ((5, 6), {"bins": 130, "bandwidth": 0.01}),
    "odd sizes": ((17, 23), {"search_size": 1}),
    "one row": ((1, 19), {}),
    "one column": ((19, 1), {}),
    "one pixel": ((1, 1), {}),
    "volume": ((5, 5, 5), {}),
    "volume, patch 5": ((3, 4, 5), {"patch_size": 5, "bins": 16}),
    "volume, search 5": ((3, 4, 5), {"search_size": 5, "bins": 8, "bandwidth": 0.1}),
    "one plane": ((1, 4, 6), {}),
}


def noise(shape, seed):
    """Uniform noise that leaves [0, 1] on both sides."""
    return np.random.default_rng(seed).uniform(-0.2, 1.2, shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "settings"), CASES.values(), ids=CASES)
def test_equals_the_numpy_definition(shape, settings):
    source, other = noise(shape, 1), noise(shape, 2)
    scores = every_score(source, other, **settings)
    prepared = prepare(source, **settings)
    np.testing.assert_allclose(prepared(other, reduce="none"), scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(prepared(other), scores.max(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("normalized", [True, False])
def test_the_definition_equals_the_numba_engine(normalized):
    source, other = (torch.from_numpy(noise((2, 1, 13, 19), seed)) for seed in (3, 4))
    prepared = prepare(source, normalized=normalized)
    assert isinstance(prepared._engine, NumbaEngine)
    slow = Definition(source[:, 0], prepared.settings, pixels_at_once=97)
    for reduce in ("max", "none"):
        expected = slow(other[:, 0], every_offset=reduce == "none")
        torch.testing.assert_close(prepared(other, reduce=reduce), expected, rtol=0, atol=2e-5)


def test_torch_engine_in_single_precision():
    # What runs on devices other than the CPU.
    source, other = (torch.from_numpy(noise((1, 4, 5, 6), seed)) for seed in (5, 6))
    settings = LMISettings()
    exact, single = Definition(source, settings), Definition(source, settings)
    single.dtype = torch.float32
    torch.testing.assert_close(single(other, True), exact(other, True), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (3, 3, 3)])
def test_pairs_of_patches(shape):
    x, y = noise((6, *shape), 7), noise((6, *shape), 8)
    for normalized in (True, False):
        expected = [
            mutual_information(p, q, normalized=normalized)
            for p, q in zip(x.clip(0, 1), y.clip(0, 1), strict=True)
        ]
        scores = patch_mutual_information(x, y, normalized=normalized)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


def test_tiles_do_not_show():
    # Wider and taller than one tile, mostly background: every seam and every skipped run.
    source, other = noise((80, 270), 9), noise((80, 270), 10)
    source[:40, 50:250] = 0.4
    source[60:, :130] = 0.0
    slow = Definition(torch.from_numpy(source)[None], LMISettings(search_size=1))
    expected = slow(torch.from_numpy(other)[None], every_offset=False)[0, 0]
    scores = local_mutual_information(source, other, search_size=1)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert (scores[1:39, 51:249] == 0).all()
    assert (scores[:40, :49] > 0).all()


def close_values(shape, seed):
    """Grey values all but equal: entropies near zero, whose ratio magnifies rounding."""
    return (0.5 + 1e-3 * noise(shape, seed)).astype(np.float32)


def stripes(shape, seed):
    """Two values far apart: few bins, of much weight each."""
    return np.where(noise(shape, seed) < 0.5, 3 / 26, 17 / 26).astype(np.float32)


def between_bins(shape, seed):
    """Values half-way between bins: all weights alike, so that errors do not cancel."""
    return ((np.rint(25 * noise(shape, seed).clip(0, 1)) + 0.5) / 26).astype(np.float32)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("bandwidth", [0.41 / 26, 0.45 / 26, 8 / 255])
@pytest.mark.parametrize("first", [close_values, stripes, between_bins])
@pytest.mark.parametrize("second", [close_values, stripes, between_bins, noise])
def test_hard_images(first, second, bandwidth, normalized):
    source, other = first((8, 9), 20), second((8, 9), 21)
    settings = {"bandwidth": bandwidth, "normalized": normalized, "search_size": 1}
    expected = every_score(source, other, **settings)
    scores = prepare(source, **settings)(other, reduce="none")
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "patch_size"), [((50, 200), 5), ((12, 18, 70), 3)])
def test_memory_does_not_change_scores(shape, patch_size):
    settings = {"patch_size": patch_size, "bins": 12, "bandwidth": 0.05}
    source, other = noise(shape, 13), noise(shape, 14)
    prepared = prepare(source, **settings)
    whole, found = prepared(other), prepared(other, reduce="offset")
    small = NumbaEngine(torch.from_numpy(source)[None], prepared.settings, memory=2**17)
    assert small.lanes < prepared._engine.lanes / 2
    np.testing.assert_array_equal(small(torch.from_numpy(other)[None], False)[0, 0], whole)
    # The best offsets in slabs.
    prepared._memory = 2**20
    np.testing.assert_array_equal(prepared(other, reduce="offset"), found)


@pytest.mark.parametrize("shape", [(3, 1, 12, 15), (3, 1, 4, 5, 6)])
def test_batch_equals_one_by_one(shape):
    source, other = noise(shape, 11), noise(shape, 12)
    together = local_mutual_information(source, other)
    every = prepare(source)(other, reduce="none")
    assert together.shape == shape
    assert every.shape == (3, 3 ** len(shape[2:]), *shape[2:])
    for one, scores, x, y in zip(together, every, source, other, strict=True):
        np.testing.assert_allclose(local_mutual_information(x[0], y[0]), one[0], atol=1e-6)
        np.testing.assert_allclose(prepare(x[0])(y[0], reduce="none"), scores, atol=1e-6)
