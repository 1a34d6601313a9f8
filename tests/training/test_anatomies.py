"""Samples of random heads: what a batch holds, and what its random numbers depend on."""

import numpy as np
import pytest
import torch

from chiasm.errors import CaseError, UsageError
from chiasm.phantom.appearance import BRAIN, canonical_t1
from chiasm.phantom.structures import TISSUE_OF, TISSUE_VALUES, index_of
from chiasm.training.anatomies import AnatomySamples, find_label_maps
from chiasm.training.data_module import DataModule
from chiasm.training.settings import objective_of, training_settings

THREE = ("context.kind=3d", "grid.spacing=[2,2,2]", "augmentation.crop=[16,16,16]")
FLAT = ("context.kind=2d", "grid.spacing=[2,2,2]", "augmentation.crop=[16,32]")


def settings_of(*words, method="regression"):
    base = ("anatomies={}", "augmentation.rotation=0", "augmentation.scale=0")
    return training_settings(method, "T1w", None, (*base, *words))


@pytest.fixture
def make(anatomies):
    def made(*words, channels=None, divisible_by=16, **more):
        settings = settings_of(*words, **more)
        subjects = find_label_maps(anatomies)
        return AnatomySamples(subjects, settings, divisible_by=divisible_by, channels=channels)

    return made


def batch(samples, seed=0, step=0, size=2, augmented=True):
    chosen = samples.settings.augmentation if augmented else None
    return samples.batch(size, (seed, step), chosen)


def same(one, two):
    return all(
        torch.equal(getattr(one, name), getattr(two, name))
        for name in ("image", "mask", "structures", "places", "population")
    )


# ---- what a batch holds


def test_label_maps_are_subjects(anatomies, tmp_path):
    found = find_label_maps(anatomies)
    assert [one.name for one in found] == ["person_1", "person_2", "person_3"]
    with pytest.raises(CaseError, match=r"-i .*: holds no label map"):
        find_label_maps(tmp_path)


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (THREE, (2, 1, 16, 16, 16)),
        (FLAT, (2, 1, 16, 32)),
        ((*FLAT, "anatomies.slab=4"), (2, 1, 16, 32)),
        ((*FLAT, "context={kind: 2.5d, neighbours: 2}"), (2, 5, 16, 32)),
        ((*FLAT, "context={kind: 2.5d, neighbours: 1}", "anatomies.slab=3"), (2, 3, 16, 32)),
        ((*FLAT, "planes=[axial, coronal, sagittal]"), (2, 1, 16, 32)),
    ],
)
def test_a_batch_has_the_shape_of_the_network_inputs(make, words, shape):
    samples = make(*words)
    samples.check(samples.settings.augmentation)
    assert len(samples) == 3
    for step in range(3):
        made = batch(samples, step=step)
        for one in (made.image, made.mask, made.structures):
            assert one.shape == shape
        assert made.places.shape == made.population.shape == (2, 4096)
        assert made.image.min() >= 0
        assert made.image.max() <= 1 + 1e-6
        assert (made.image[~made.mask] == 0).all()
        assert made.labels is None


def test_the_image_has_the_canonical_contrast_inside_structures(make):
    """Away from borders, where a voxel holds a mixture."""
    made = batch(make(*THREE, "grid.spacing=[1,1,1]", "anatomies.stripped=0"), step=3)
    t1 = torch.from_numpy(canonical_t1())
    structures = made.structures.float()
    same_around = (
        torch.nn.functional.max_pool3d(structures, 3, 1, 1)
        == -torch.nn.functional.max_pool3d(-structures, 3, 1, 1)
    ) & made.mask
    expected = t1[made.structures.long()]
    assert same_around.sum() > 50
    torch.testing.assert_close(made.image[same_around], expected[same_around])


def test_the_population_is_that_of_the_whole_head(make):
    samples = make(*THREE, "anatomies.stripped=1")
    made = batch(samples)
    assert torch.equal(made.population, torch.from_numpy(canonical_t1())[made.places.long()])
    inside = torch.from_numpy(BRAIN)[made.places.long()]
    assert inside.all()
    whole = batch(make(*THREE, "anatomies.stripped=0"))
    inside = torch.from_numpy(BRAIN)[whole.places.long()]
    assert 0 < float(inside.float().mean()) < 1
    assert not (whole.places == 0).any()  # no air
    # The label maps hold one soft tissue, the heads two.
    counts = torch.bincount(whole.places[0].long(), minlength=len(TISSUE_OF))
    assert abs(int(counts[index_of("fat")] - counts[index_of("muscle")])) <= 1


def test_stripped_samples_hold_hardly_any_skull_and_others_do(make):
    shares = []
    for stripped in (0, 1):
        samples = make(*THREE, f"anatomies.stripped={stripped}")
        assert samples.unstripped == [stripped < 1]
        made = [batch(samples, step=step) for step in range(5)]
        inside = torch.cat([one.structures[one.mask] for one in made])
        shares.append((np.array(TISSUE_OF)[inside.numpy()] == "head").mean())
    assert shares[0] > 0.2
    assert shares[1] < 0.4 * shares[0]


@pytest.mark.parametrize("words", [THREE, FLAT, (*FLAT, "planes=[sagittal]")])
def test_labels_are_the_tissues_inside_the_mask(make, words):
    channels = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    made = batch(make(*words, channels=channels), step=1)
    values = torch.tensor([TISSUE_VALUES[one] for one in TISSUE_OF])
    expected = values[made.centre_structures.long()] * made.centre_mask
    assert torch.equal(made.labels, expected)
    merged = batch(make(*words, channels=channels | {4: 3}), step=1)
    assert torch.equal(merged.labels, torch.where(expected == 4, 3, expected))


def test_slices_of_a_plane_are_stacked_along_its_axis(make):
    """A head is longer from front to back; an axial and a sagittal slice show its two sides."""
    heads = {
        plane: make(*FLAT, f"planes=[{plane}]", "augmentation.crop=[32,32]", "anatomies.slab=5")
        for plane in ("axial", "coronal", "sagittal")
    }
    for plane, axis in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        _, head, drawn = heads[plane].drawn(0, 1)
        assert drawn == axis
        shape = [32, 32, 32]
        shape[axis] = 5
        assert head.structures.shape == tuple(shape)


def test_a_slab_gives_its_slices_and_no_other(make):
    samples = make(*FLAT, "anatomies={slab: 4, reuse: 50, stripped: 0}")
    seen = set()
    for step in range(30):
        made = batch(samples, step=step, size=1)
        _, head, axis = samples.drawn(0, 0)
        slices = head.structures.movedim(axis, 0)
        own = made.structures[0, 0]
        fits = [k for k in range(4) if (own == slices[k]).all() or (own == slices[k].flip(0)).all()]
        assert fits
        seen.add(fits[0])
    assert len(seen) > 2


def test_neighbouring_slices_are_in_order(make):
    words = (*FLAT, "context={kind: 2.5d, neighbours: 1}", "anatomies.stripped=0")
    samples = make(*words)
    made = batch(samples, size=1)
    _, head, axis = samples.drawn(0, 0)
    stack = head.structures.movedim(axis, 0)
    assert stack.shape[0] == 3
    assert (made.structures[0] == stack).all() or (made.structures[0] == stack.flip(1)).all()


# ---- random numbers


@pytest.mark.parametrize("words", [THREE, FLAT, (*FLAT, "anatomies={varied: true, slab: 3}")])
def test_a_batch_depends_only_on_seed_and_step(make, words):
    samples, others = make(*words), make(*words)
    expected = [batch(samples, 5, step) for step in range(4)]
    for step in (3, 1, 0, 2):  # in another order, as after an interruption
        assert same(batch(others, 5, step), expected[step])
    assert not same(expected[0], expected[2])


@pytest.mark.parametrize("varied", ["true", "false"])
def test_another_seed_gives_other_heads(make, varied):
    samples = make(*THREE, f"anatomies.varied={varied}")
    one, two = (samples.drawn(seed, 7) for seed in (1, 2))
    assert one[0] != two[0] or not torch.equal(one[1].structures, two[1].structures)
    assert not same(batch(samples, 1), batch(samples, 2))
    batch(samples, 2**30 - 1)  # the largest seed that the settings allow


def test_a_head_is_used_again_and_then_replaced(make):
    samples = make(*THREE, "anatomies.reuse=3")
    numbers = []
    original = samples.drawn
    samples.drawn = lambda seed, number: numbers.append(number) or original(seed, number)
    for step in range(7):
        batch(samples, step=step, size=2)
    first, second = numbers[::2], numbers[1::2]
    assert [first.count(one) for one in dict.fromkeys(first)] == [3, 3, 1]
    # The places of a batch change their heads in turn.
    assert [second.count(one) for one in dict.fromkeys(second)] == [2, 3, 2]
    assert not {*first} & {*second}
    assert original.cache_info().misses == len({*numbers})


def test_samples_of_one_head_differ_by_reflection_and_stripping(make):
    samples = make(*THREE, "anatomies={reuse: 40, stripped: 0.5}")
    every = [batch(samples, step=step, size=1) for step in range(12)]
    kinds = {
        (bool(torch.equal(one.structures, every[0].structures)), int(one.mask.sum()))
        for one in every
    }
    assert len(kinds) == 4
    flipped = next(one for one in every if not torch.equal(one.structures, every[0].structures))
    assert torch.equal(flipped.structures.flip(2), every[0].structures)


def test_the_validation_does_not_use_heads_again(make):
    samples = make(*THREE, "anatomies.reuse=3")
    one, two = (batch(samples, step=step, augmented=False) for step in (0, 1))
    assert not torch.equal(one.structures, two.structures)


def test_varied_targets_are_on_their_own_range(make):
    samples = make(*THREE, "anatomies={varied: true, stripped: 0}")
    plain = make(*THREE, "anatomies={varied: false, stripped: 0}")
    made = [batch(samples, step=step) for step in range(4)]
    for one in made:
        assert one.image.min() >= 0
        assert one.image.max() <= 1 + 1e-6
        low, high = one.population.quantile(torch.tensor([0.004, 0.996]), dim=1)
        assert (low < 0.01).all()
        assert (high > 0.99).all()
        assert (one.image[~one.mask] == 0).all()
    same_heads = [torch.equal(a.structures, batch(plain, step=k).structures) for k, a in
                  enumerate(made)]  # fmt: skip
    assert all(same_heads)
    assert not torch.equal(made[0].image, batch(plain, step=0).image)


# ---- refusals


def test_illegal_settings_are_refused(make, anatomies, tmp_path, make_head, save_labels):
    with pytest.raises(UsageError, match=r"grid\.spacing .*: is not equal"):
        make("grid.spacing=[2,2,3]", "augmentation.crop=[16,16]")
    with pytest.raises(UsageError, match=r"grid\.spacing .*: is not equal"):
        make("grid.spacing=[2,2,null]", "context.kind=3d", "augmentation.crop=[16,16,16]")
    for crop in ("null", "[16,24,16]"):
        samples = make(*THREE, f"augmentation.crop={crop}")
        with pytest.raises(UsageError, match=r"augmentation\.crop .*: is no size of a box"):
            samples.check(samples.settings.augmentation)
    labels = make_head((16, 16, 16))
    labels[0, 0, 0] = 999
    save_labels(tmp_path / "odd.nii.gz", labels)
    with pytest.raises(CaseError, match=r"odd\.nii\.gz: has the unknown labels 999"):
        AnatomySamples(find_label_maps(tmp_path), settings_of(*THREE), divisible_by=16)


def test_what_cannot_be_drawn_is_refused(anatomies):
    words = ("anatomies={}", "grid.spacing=[2,2,2]", "context.kind=3d", "augmentation.flip=0")
    words += ("augmentation.rotation=0", "augmentation.scale=0", "augmentation.crop=[16,16,16]")
    settings = training_settings("regression", "T2w", None, words)
    with pytest.raises(UsageError, match="target T2w: cannot be drawn from label maps; legal: T1w"):
        AnatomySamples(find_label_maps(anatomies), settings, divisible_by=16)
    settings = training_settings("paired", "T1w", None, ("anatomies={}",), ("PD",))
    with pytest.raises(UsageError, match="cannot be used, because paired learns from source"):
        DataModule(anatomies).subjects(settings, objective_of("paired"))
