"""Contrast from a map of structures, against the statistics that it should have."""

import numpy as np
import pytest
import torch

from chiasm.augment.structures import equation_means, paint, places, random_means
from chiasm.phantom.appearance import APPEARANCES
from chiasm.phantom.structures import NAMES, STRUCTURES, TISSUE_OF

COUNT = len(STRUCTURES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_random_means_lie_in_the_range_with_dark_air():
    means = torch.stack([random_means(generator(seed)) for seed in range(200)])
    assert means.shape == (200, COUNT)
    assert (means[:, 0] == 0).all()
    assert means.min() >= 0
    assert means.max() <= 1
    assert (means[:, 1:].mean(0) - 0.5).abs().max() < 0.1  # any structure may be dark or bright


def test_structures_of_one_tissue_are_more_alike_than_others():
    means = torch.stack([random_means(generator(seed)) for seed in range(300)])
    cortex, caudate, white = (NAMES.index(n) for n in ("cortex", "caudate", "white matter"))
    correlation = torch.corrcoef(means[:, [cortex, caudate, white]].T)
    assert correlation[0, 1] > 0.4
    assert abs(float(correlation[0, 2])) < 0.2


def test_means_by_the_equations_are_scaled_to_the_range():
    fixed = 0
    for seed in range(60):
        means, absolute = equation_means(generator(seed))
        assert means.shape == (COUNT,)
        assert torch.isfinite(means).all()
        if not absolute:
            assert means.min() >= 0
            assert float(means.max()) == pytest.approx(1)
            continue
        fixed += 1
        # CT's window from −20 to 100 HU: CSF is 6 HU, cortex 38 HU.
        assert float(means[0]) == pytest.approx((-1000 + 20) / 120)
        assert float(means[NAMES.index("ventricles")]) == pytest.approx(26 / 120, abs=0.09)
        assert float(means[NAMES.index("cortex")]) == pytest.approx(58 / 120, abs=0.12)
    assert 2 < fixed < 20  # one of seven modalities


def test_a_modality_is_drawn_as_often_as_its_weight_says():
    fixed = {"CT": 0}
    assert not any(equation_means(generator(seed), fixed)[1] for seed in range(60))
    often = {"CT": 8}  # 8 of 14
    share = np.mean([equation_means(generator(seed), often)[1] for seed in range(300)])
    assert share == pytest.approx(8 / 14, abs=0.1)
    only = dict.fromkeys(APPEARANCES, 0.0) | {"T2w": 1.0}
    for seed in range(20):
        means, _ = equation_means(generator(seed), only)
        # Only in T2 is CSF brighter than the cortex, and the cortex brighter than white matter.
        order = [float(means[NAMES.index(one)]) for one in ("csf", "cortex", "white matter")]
        assert order == sorted(order, reverse=True)
        assert order[0] > order[2]


def test_the_same_seed_gives_the_same_means():
    for draw in (random_means, lambda g: equation_means(g)[0]):
        assert torch.equal(draw(generator(3)), draw(generator(3)))
        assert not torch.equal(draw(generator(3)), draw(generator(4)))


@pytest.mark.parametrize("shape", [(30,), (20, 24), (16, 18, 20), (3, 24, 24), (1, 24, 24)])
def test_without_texture_a_painting_has_the_means(shape):
    structures = torch.randint(COUNT, shape, generator=generator()).to(torch.uint8)
    means = torch.linspace(0, 1, COUNT)
    image = paint(structures, means, torch.zeros(COUNT), generator())
    assert torch.equal(image, means[structures.long()])


def test_texture_varies_inside_a_structure_and_is_smooth():
    structures = torch.full((48, 48, 48), 5, dtype=torch.uint8)
    structures[:24] = 0
    means, deviations = torch.full((COUNT,), 0.5), torch.full((COUNT,), 0.1)
    means[0] = deviations[0] = 0
    image = paint(structures, means, deviations, generator(1))
    assert (image[:24] == 0).all()
    inside = image[24:]
    assert float(inside.mean()) == pytest.approx(0.5, abs=0.02)
    assert 0.03 < float(inside.std()) < 0.1
    assert inside.diff(dim=1).std() < inside.std()


def test_places_have_the_shares_of_the_counts():
    counts = torch.zeros(COUNT)
    counts[3], counts[7], counts[COUNT - 1] = 1000, 3000, 4000
    found = places(counts)
    assert found.dtype == torch.uint8
    assert (found.diff() >= 0).all()
    shares = np.bincount(found.numpy(), minlength=COUNT) / len(found)
    np.testing.assert_allclose(shares, (counts / counts.sum()).numpy(), atol=1 / 4096)


def test_air_has_no_place_if_it_is_not_counted():
    counts = torch.ones(COUNT)
    counts[0] = 0
    found = places(counts)
    assert TISSUE_OF[int(found.min())] != "air"
    assert len(found.unique()) == COUNT - 1
