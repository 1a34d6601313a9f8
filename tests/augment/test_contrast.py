"""Contrast randomisation against NumPy, and what it must never do."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from chiasm.augment.contrast import (
    Acquisition,
    ContrastSettings,
    Slices,
    bias_field,
    degrade,
    intensity_map,
    normalise,
    random_knots,
    randomise_contrast,
    randomise_structures,
)
from chiasm.augment.structures import places
from chiasm.phantom.appearance import APPEARANCES
from chiasm.phantom.structures import BRAIN_TISSUES, STRUCTURES, index_of, of_tissue


def test_the_map_is_numpys_interpolation():
    values = torch.rand((3, 8))
    image = torch.rand((3, 2, 5, 7))
    image[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    mapped = intensity_map(image, values)
    for k in range(3):
        expected = np.interp(image[k].numpy(), np.linspace(0, 1, 8), values[k].numpy())
        np.testing.assert_allclose(mapped[k].numpy(), expected, atol=1e-6)


def test_normalise_lays_percentiles_of_the_head_on_0_and_1():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, 100, 100), generator=generator) * 5 + 40
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 20:90, 10:80] = True
    out = normalise(image, mask)
    inside = image[mask].numpy()
    low, high = np.percentile(inside, [0.5, 99.5])
    expected = np.clip((inside - low) / (high - low), 0, 1)
    np.testing.assert_allclose(out[mask].numpy(), expected, atol=1e-5)
    assert (out[~mask] == 0).all()


@pytest.mark.parametrize("images", [1, 5])
def test_a_slice_keeps_its_place_in_the_range_of_its_volume(images):
    """A dark slice stays dark; only without the volume's intensities it takes the whole range."""
    image = 0.1 + 0.2 * torch.rand((2, images, 24, 20))
    mask = torch.ones_like(image, dtype=torch.bool)
    mask[..., :3] = False
    voxels = torch.linspace(0, 1, 400).repeat(2, 1)
    plain = ContrastSettings(gamma=0, bias=0, blur=0, noise=0)
    generator = torch.Generator().manual_seed(0)
    out = degrade(image, mask, plain, generator, population=voxels)
    expected = (image - 0.005) / 0.99 * mask  # the range between the 0.5th and 99.5th percentiles
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    alone = degrade(image, mask, plain, generator)
    assert alone[mask].max() == 1
    assert alone[mask].min() == 0


def test_thick_slices_reach_across_neighbouring_slices():
    """Of five neighbours only the last is bright: thick slices along the stack mix them."""
    image = torch.zeros((40, 5, 16, 16))
    image[:, 4] = 1
    mask = torch.ones_like(image, dtype=torch.bool)
    plain = ContrastSettings(gamma=0, bias=0, blur=0, noise=0, thick=1, thickness=5)
    voxels = torch.linspace(0, 1, 400).repeat(40, 1)
    out = degrade(image, mask, plain, torch.Generator().manual_seed(0), population=voxels)
    mixed = [(one[3].mean() > 0.05).item() for one in out]
    assert 0.15 < np.mean(mixed) < 0.5  # about a third of the axes are that of the stack


@pytest.mark.parametrize("spatial", [(24, 20), (12, 10, 8)])
def test_draws_repeat_by_seed_and_differ_otherwise(spatial):
    image = torch.rand((2, 1, *spatial))
    mask = image > 0.2
    values = torch.linspace(0, 1, 200).repeat(2, 1)
    draw = [
        randomise_contrast(
            image, mask, values, ContrastSettings(), torch.Generator().manual_seed(seed)
        ).image
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert (draw[0][~mask] == 0).all()
    assert draw[0].min() >= 0
    assert draw[0].max() <= 1


def test_the_order_of_tissues_is_often_turned():
    """Darker may become brighter: of three tissues any of the 6 orders comes up, often inverted."""
    image = torch.zeros((400, 1, 6, 6))
    for k, level in enumerate((0.2, 0.55, 0.9)):
        image[:, :, :, 2 * k : 2 * k + 2] = level
    values = random_knots(400, ContrastSettings(), torch.Generator().manual_seed(0))
    assert values.min() >= 0
    assert values.max() <= 1
    mapped = intensity_map(image, values)[:, 0, 0, ::2]
    orders = {tuple(order.tolist()) for order in mapped.argsort(dim=1)}
    assert len(orders) == 6
    rising = (mapped.diff(dim=1) > 0).all(dim=1).float().mean()
    falling = (mapped.diff(dim=1) < 0).all(dim=1).float().mean()
    assert 0.2 < float(rising) < 0.45
    assert 0.2 < float(falling) < 0.45


def test_no_roughness_is_a_straight_line():
    values = random_knots(50, ContrastSettings(roughness=0), torch.Generator().manual_seed(0))
    bends = values.diff(dim=1, n=2)
    torch.testing.assert_close(bends, torch.zeros_like(bends), atol=1e-6, rtol=0)


def test_bias_stays_within_its_strength():
    field = bias_field((50, 1, 30, 20), 0.2, torch.Generator().manual_seed(0))
    assert field.shape == (50, 1, 30, 20)
    assert 0.8 <= float(field.min()) < 0.83
    assert 1.17 < float(field.max()) <= 1.2
    assert float(field.diff(dim=2).abs().max()) < 0.06


# ---- acquisition

CLEAN = ContrastSettings(gamma=0, bias=0, blur=0, noise=0, thick=0, texture=0)
THICK = CLEAN.model_copy(update={"thick": 1.0, "thickness": 5.0})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_acquisition_without_changes_is_the_image():
    image = torch.rand((2, 1, 9, 8, 7))
    acquired = Acquisition(tuple(image.shape), CLEAN, generator()).image(image)
    torch.testing.assert_close(acquired, image)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spatial", [(20, 18, 16), (20, 18), (30, 4, 1), (2, 2, 2)])
def test_thick_slices_keep_a_constant(seed, spatial):
    slices = Slices(spatial, THICK, generator(seed))
    assert slices.thick
    constant = torch.full((1, *spatial), 0.7)
    torch.testing.assert_close(slices.image(constant, 0.0, generator()), constant)


@pytest.mark.parametrize("seed", range(8))
def test_thick_slices_keep_a_slope_away_from_the_ends(seed):
    slices = Slices((40, 40, 40), THICK, generator(seed))
    shape = [1, 1, 1, 1]
    shape[1 + slices.axis] = 40
    slope = (torch.arange(40) / 39).view(shape).expand(1, 40, 40, 40)
    made = slices.image(slope, 0.0, generator())
    inner = (slice(None), *(slice(10, 30),) * 3)
    # A thin profile between two voxels is off by at most a twentieth of a voxel.
    torch.testing.assert_close(made[inner], slope[inner], atol=0.05 / 39, rtol=0)


def test_thick_slices_blur_one_axis_and_leave_the_others():
    seen = set()
    image = torch.rand((1, 24, 24, 24), generator=generator())
    for seed in range(12):
        slices = Slices((24, 24, 24), THICK, generator(seed))
        made = slices.image(image, 0.0, generator())
        # The mean along the axis of the slices of a product is known: other axes are untouched.
        rest = [axis for axis in range(3) if axis != slices.axis]
        profile = torch.rand((24, 24), generator=generator())
        shape = [1, 24, 24, 24]
        shape[1 + slices.axis] = 1
        flat = profile.view(shape).expand(1, 24, 24, 24)
        torch.testing.assert_close(slices.image(flat, 0.0, generator()), flat)
        steps = [float(made.diff(dim=1 + axis).abs().mean()) for axis in range(3)]
        assert steps[slices.axis] == min(steps)
        assert steps[slices.axis] < 0.9 * min(steps[axis] for axis in rest)
        seen.add(slices.axis)
    assert seen == {0, 1, 2}


def test_the_profile_of_a_slice_has_the_width_that_is_meant():
    """A slice of thickness d without a gap has a Gaussian profile of full width d at half max."""
    for seed in range(6):
        settings = THICK.model_copy(update={"thickness": 9.0})
        slices = Slices((101,), settings, generator(seed))
        _, size, gap, _, _ = torch.rand(5, generator=generator(seed)).tolist()
        thickness = (1 + 8 * size) * (1 - gap / 4)
        middle = slices.acquire[len(slices.acquire) // 2]
        at = torch.arange(101)
        centre = (middle * at).sum()
        deviation = float(((at - centre) ** 2 * middle).sum().sqrt())
        if thickness > 2:  # otherwise a voxel is too coarse to show the profile
            assert deviation * 2.355 == pytest.approx(thickness, rel=0.02)
        assert float(slices.acquire.sum(1).max()) == pytest.approx(1, abs=1e-5)


def test_noise_of_thick_slices_is_alike_in_the_voxels_of_a_slice():
    slices = Slices((64,), THICK.model_copy(update={"thickness": 8.0}), generator(3))
    noise = slices.image(torch.zeros((200, 64)), 1.0, generator())
    neighbours = torch.corrcoef(noise.T)[torch.arange(20, 40), torch.arange(21, 41)]
    assert neighbours.min() > 0.3


@pytest.mark.parametrize("spatial", [(40,), (24, 20), (16, 18, 14)])
def test_the_blur_is_scipys_away_from_the_ends(spatial):
    settings = CLEAN.model_copy(update={"blur": 1.5})
    acquisition = Acquisition((1, 1, *spatial), settings, generator(1))
    sigma = float(acquisition.sigmas[0])
    assert sigma > 0.4
    image = torch.rand((1, 1, *spatial), generator=generator())
    expected = ndimage.gaussian_filter(image[0, 0].numpy(), sigma, truncate=8)
    made = acquisition.image(image)[0, 0].numpy()
    inner = (slice(6, -6),) * len(spatial)
    np.testing.assert_allclose(made[inner], expected[inner], atol=2e-3)


def test_a_single_draw_applies_to_every_image():
    image = torch.rand((5, 1, 12, 12))
    settings = ContrastSettings(noise=0, thick=1.0)
    together = Acquisition((1, 1, 12, 12), settings, generator()).image(image)
    for k in range(5):
        alone = Acquisition((1, 1, 12, 12), settings, generator()).image(image[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)


# ---- contrast from structures


def a_head(images=1, spatial=(20, 20)):
    brain = torch.tensor(of_tissue(*BRAIN_TISSUES))
    shape = (2, images, *spatial)
    structures = brain[torch.randint(len(brain), shape, generator=generator())].to(torch.uint8)
    structures[..., :3] = 0
    counts = torch.bincount(structures.flatten().long(), minlength=len(STRUCTURES)).double()
    counts[0] = 0
    where = places(counts)[None].expand(2, -1)
    t1 = torch.linspace(0, 1, len(STRUCTURES))
    return t1[structures.long()], structures != 0, t1[where.long()], structures, where


def randomised(settings, seed=0, images=1, spatial=(20, 20)):
    image, mask, population, structures, where = a_head(images, spatial)
    made = randomise_structures(
        image, mask, population, structures, where, settings, generator(seed)
    )
    return made, mask, structures, where


SHARES = ({"structures": 1, "equations": 0}, {"structures": 0, "equations": 1},
          {"structures": 0, "equations": 0})  # fmt: skip


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize(("images", "spatial"), [(1, (20, 20)), (3, (20, 20)), (1, (12, 14, 16))])
def test_contrast_from_structures_has_the_shape_and_range_of_the_image(shares, images, spatial):
    settings = ContrastSettings(**shares, thick=0.5)
    (image, population), mask, _, where = randomised(settings, 1, images, spatial)
    assert image.shape == mask.shape
    assert population.shape == where.shape
    assert (image[~mask] == 0).all()
    for one in (image, population):
        assert torch.isfinite(one).all()
        assert one.min() >= 0
        assert one.max() <= 1
    (again, _), *_ = randomised(settings, 1, images, spatial)
    (other, _), *_ = randomised(settings, 2, images, spatial)
    assert torch.equal(image, again)
    assert not torch.equal(image, other)


@pytest.mark.parametrize("shares", SHARES[:2])
def test_one_structure_has_one_intensity_which_is_that_of_the_population(shares):
    settings = CLEAN.model_copy(update=shares)
    for seed in range(6):
        (image, population), _, structures, where = randomised(settings, seed)
        for sample in range(2):
            for value in structures[sample].unique().tolist():
                if value == 0:
                    continue
                here = image[sample][structures[sample] == value]
                there = population[sample][where[sample] == value]
                torch.testing.assert_close(here, here[:1].expand_as(here))
                torch.testing.assert_close(there, there[:1].expand_as(there))
                torch.testing.assert_close(here[0], there[0], atol=1e-5, rtol=0)


def test_without_structures_it_is_a_random_map_of_each_sample():
    settings = ContrastSettings(structures=0, equations=0)
    image, mask, population, *rest = a_head()
    stream = generator(4)
    expected = []
    for k in range(2):
        torch.rand((), generator=stream)  # which way
        one = (x[k : k + 1] for x in (image, mask, population))
        expected.append(randomise_contrast(*one, settings, stream))
    made = randomise_structures(image, mask, population, *rest, settings, generator(4))
    assert torch.equal(made.image, torch.cat([one.image for one in expected]))
    assert torch.equal(made.population, torch.cat([one.population for one in expected]))


def test_neither_texture_nor_noise_hides_what_the_equations_tell_apart():
    """PD, where grey and white matter are close: the rest varies by at most a third of that."""
    only = dict.fromkeys(APPEARANCES, 0.0) | {"PDw": 1.0}
    settings = CLEAN.model_copy(
        update={"structures": 0, "equations": 1, "modalities": only, "texture": 1.0, "noise": 1.0}
    )
    cortex, white = index_of("cortex"), index_of("white matter")
    for seed in range(8):
        (image, _), _, structures, _ = randomised(settings, seed, spatial=(40, 40))
        for sample in range(2):
            grey, bright = (image[sample][structures[sample] == one] for one in (cortex, white))
            apart = abs(float(grey.mean() - bright.mean()))
            # Texture and noise have at most a third each, so together a half.
            assert max(float(grey.std()), float(bright.std())) < 0.65 * apart


@pytest.mark.parametrize(
    ("weights", "told"),
    [({"T5w": 1}, "T5w: no such modality; legal: T1w"), ({"PDw": -1}, "greater than or equal"),
     (dict.fromkeys(APPEARANCES, 0), "all weights are 0; legal: a positive weight")],
)  # fmt: skip
def test_weights_of_unknown_or_no_modalities_are_refused(weights, told):
    with pytest.raises(ValidationError, match=told):
        ContrastSettings(modalities=weights)


def test_ct_keeps_its_window():
    """In CT the brightest structure is not scaled to 1: CSF is near (6 + 20) / 120."""
    settings = CLEAN.model_copy(update={"structures": 0, "equations": 1})
    csf, found = index_of("ventricles"), 0
    for seed in range(16):
        (image, _), _, structures, _ = randomised(settings, seed)
        for sample in range(2):
            brain = image[sample][structures[sample] != 0]
            if 0.02 < float(brain.max()) < 0.75:
                found += 1
                assert float(image[sample][structures[sample] == csf].mean()) == pytest.approx(
                    26 / 120, abs=0.1
                )
    assert found
