"""Geometry: the deformation is one, tissues fill the brain, random fields are what they say."""

import numpy as np
import pytest

from chiasm.phantom.anatomy import BRAIN, TISSUES, build_anatomy, displacement
from chiasm.phantom.fields import average, normalised, sample, smooth_noise, stream, stretch
from chiasm.phantom.template import template


@pytest.mark.parametrize(("name", "growth"), [("a", -1.5), ("b", 4.0), ("c", 4.0)])
def test_deformation_folds_nowhere(name, growth):
    moved = displacement(stream(0, name), growth)
    slopes = np.stack([np.stack(np.gradient(part, 4.0)) for part in moved])
    jacobian = np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(3)
    assert np.linalg.det(jacobian).min() > 0.05
    assert np.abs(moved).max() > 2


def test_ventricles_grow_and_shrink():
    def enclosed(growth):
        frame = template().frame
        offset = frame.points(4) - frame.origin.reshape(3, 1, 1, 1)
        offset = offset + displacement(stream(0, "test"), growth)
        where = normalised(offset, frame.extent)
        return sample(template().ventricles[None], where).sum()

    assert enclosed(-1.5) < 0.9 * enclosed(0) < 0.9 * 0.8 * enclosed(4)


def test_tissues_fill_the_brain_and_no_more(anatomy, head_anatomy):
    total = anatomy.fractions.sum(0)
    assert anatomy.fractions.min() >= -1e-6
    assert total.max() <= 1 + 1e-5
    assert total[anatomy.mask].min() > 0.5
    assert total[~anatomy.mask].max() <= 0.5
    assert (np.abs(total[anatomy.mask] - 1) < 1e-5).mean() > 0.7
    assert (anatomy.fractions[len(BRAIN) :] == 0).all()
    # With a head around, every voxel of the brain is full.
    assert head_anatomy.fractions.min() >= -1e-6
    assert head_anatomy.fractions.sum(0).max() <= 1 + 1e-5
    assert head_anatomy.fractions.sum(0)[head_anatomy.mask] == pytest.approx(1, abs=1e-5)


def test_volumes_are_realistic(anatomy):
    litres = {name: volume / 1000 for name, volume in anatomy.volumes.items()}
    assert 1.3 < sum(litres.values()) < 2.3
    assert 0.1 < litres["csf"] < 0.6
    assert 0.9 < litres["grey"] / (litres["white"] + litres["lesion"]) < 2


def test_layers_of_the_head_lie_in_order(head_anatomy):
    # From the middle of the brain up: skull, then fat, then air.
    _, x, y, _ = head_anatomy.fractions.shape
    column = head_anatomy.fractions[:, x // 2, y // 2]
    places = np.arange(column.shape[1])
    above = places > np.argwhere(head_anatomy.mask[x // 2, y // 2]).max()

    def height(tissue):
        line = column[TISSUES.index(tissue)] * above
        return (line * places).sum() / line.sum()

    assert height("skull") < height("fat")
    assert column[:, -1].sum() < 1e-6


def test_head_changes_neither_brain_nor_labels(healthy, headed):
    assert (healthy.labels.array == headed.labels.array).all()
    assert (healthy.labels.affine == headed.labels.affine).all()


def test_same_subject_at_another_spacing(anatomy, seed):
    coarse = build_anatomy(seed, 6, lesions=True)
    assert coarse.build == anatomy.build
    for tissue in ("csf", "grey", "white"):
        assert coarse.volumes[tissue] == pytest.approx(anatomy.volumes[tissue], rel=0.12)


def test_streams_are_independent_and_repeatable():
    assert stream(1, "a").random() == stream(1, "a").random()
    assert len({stream(s, n).random() for s in (1, 2) for n in ("a", "b")}) == 4


@pytest.mark.parametrize("band", [False, True])
def test_noise_has_unit_variance_and_its_scale(band):
    field = smooth_noise(np.random.default_rng(0), (64, 64, 64), 2.0, band)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    power = np.abs(np.fft.fftn(field)) ** 2
    frequency = np.fft.fftfreq(64)
    radius = np.sqrt(sum(axis**2 for axis in np.ix_(frequency, frequency, frequency)))
    # A Gaussian of σ = 2 leaves exp(−(2π·2·f)²) of the power at a frequency f per step.
    assert power[radius > 0.25].mean() < 1e-3 * power[(radius > 0.05) & (radius < 0.1)].mean()
    slow = power[(radius > 0) & (radius < 0.02)].mean()
    middle = power[(radius > 0.06) & (radius < 0.1)].mean()
    assert (slow < 0.1 * middle) == band


def test_sampling_a_linear_map_is_exact():
    frame = template().frame
    positions = frame.points(8)[:, :24, :28, :23]
    offset = (positions[:, :20, :20, :20] - frame.origin.reshape(3, 1, 1, 1)) * 0.9 + 1.3
    axes = frame.axes(4)
    linear = (axes[0] + 2 * axes[1] - 3 * axes[2])[None].astype(np.float32)
    got = sample(linear, normalised(offset, frame.extent))[0]
    x, y, z = offset + frame.origin.reshape(3, 1, 1, 1)
    assert got == pytest.approx(x + 2 * y - 3 * z, abs=2e-3)


def test_stretching_a_linear_map_is_exact():
    i, j, k = np.indices((5, 6, 7)).astype(np.float32)
    places = [np.array([0.0, 1.5, 4.0]), np.array([0.25, 5.0]), np.array([6.0, 2.75])]
    got = stretch(i + 10 * j - k, places)
    expected = places[0][:, None, None] + 10 * places[1][:, None] - places[2]
    assert got == pytest.approx(expected, abs=1e-5)
    assert stretch(np.stack([i, j], -1), places).shape == (3, 2, 2, 2)


def test_average_of_cubes():
    fine = np.arange(2 * 4 * 4 * 2, dtype=np.float32).reshape(2, 4, 4, 2)
    got = average(fine, 2)
    assert got.shape == (2, 2, 2, 1)
    assert got[1, 0, 1, 0] == pytest.approx(fine[1, :2, 2:4, :2].mean())


def test_template():
    known = template()
    assert known.maps.shape == (6, *known.frame.shape(1)) == (6, 197, 233, 189)
    assert np.isfinite(known.maps).all()
    assert known.lesion_odds.sum() == pytest.approx(1)
    # The middle of a lateral ventricle is CSF, deep inside; the corpus callosum is white.
    ventricle, callosum = ((10, 5, 20), (0, 12, 22))
    at = [tuple(np.subtract(p, known.frame.origin).astype(int)) for p in (ventricle, callosum)]
    assert known.maps[(1, *at[0])] > 1
    assert known.maps[(0, *at[1])] > 1
    assert known.maps[(3, *at[0])] < -30
    assert known.ventricles[at[0]] > 0.2
