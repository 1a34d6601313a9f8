"""The published variant against numbers that the published layer printed, and its formulas.

``published_20x20.npz`` holds inputs and outputs of the layer of Wang et al. (arXiv 2404.01102; 3×3
patches, 27 bins, normalised), run once on two 128×128 slices, of which rows 66 to 85 and columns 57
to 76 are kept, and on 64 pairs of random patches.
"""

from pathlib import Path

import numpy as np
import pytest
from lmi_numpy import published_scores

from chiasm.lmi import local_mutual_information, patch_mutual_information, prepare

GOLDEN = np.load(Path(__file__).with_name("published_20x20.npz"))


@pytest.mark.parametrize("pair", ["t2_t1", "t2_t2", "t1_t1", "t2_xt"])
def test_maps_the_layer_printed(pair):
    source, other = (GOLDEN[name] for name in pair.split("_"))
    scores = local_mutual_information(source, other, variant="published")
    inner = slice(1, -1)  # at the crop's border the layer saw pixels that the crop lacks
    np.testing.assert_allclose(
        scores[inner, inner], GOLDEN[f"map_{pair}"][inner, inner], rtol=0, atol=1e-4
    )


def test_the_defect_is_reproduced_and_corrected():
    source, other = GOLDEN["t2"], GOLDEN["xt"]
    assert GOLDEN["map_t2_xt"][1:-1, 1:-1].max() > 1.99
    assert local_mutual_information(source, other, variant="published").max() > 1.99
    assert local_mutual_information(source, other).max() <= 1


@pytest.mark.parametrize(("normalized", "name"), [(True, "pair_nmi"), (False, "pair_mi")])
def test_pairs_the_layer_printed(normalized, name):
    scores = patch_mutual_information(
        GOLDEN["P"], GOLDEN["Q"], variant="published", normalized=normalized
    )
    np.testing.assert_allclose(scores, GOLDEN[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("settings", [{}, {"bins": 16, "bandwidth": 0.05}])
def test_equals_its_formulas_up_to_the_border(normalized, settings):
    rng = np.random.default_rng(0)
    source = rng.uniform(size=(6, 7)).astype(np.float32)
    other = rng.normal(0.5, 1, (6, 7)).astype(np.float32)
    scores = prepare(source, variant="published", normalized=normalized, **settings)(
        other, reduce="none"
    )
    expected = published_scores(source, other, normalized=normalized, **settings)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)


def test_batch_equals_one_by_one():
    source, other = np.random.default_rng(1).uniform(-0.5, 1.5, (2, 3, 1, 11, 13))
    together = local_mutual_information(source, other, variant="published")
    for x, y, scores in zip(source, other, together, strict=True):
        one = local_mutual_information(x[0], y[0], variant="published")
        np.testing.assert_allclose(scores[0], one, rtol=0, atol=1e-6)


def test_values_without_grey_level_are_no_error():
    source = np.random.default_rng(2).uniform(size=(5, 6))
    far, farther = np.full((5, 6), 1e30), np.full((5, 6), np.inf)
    first, second = (
        local_mutual_information(source, other, variant="published") for other in (far, farther)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[1:-1, 1:-1], 2, atol=1e-5)
