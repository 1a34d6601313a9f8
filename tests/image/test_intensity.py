"""Intensity maps: exact inverses, percentiles of the head alone, fixed windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chiasm.errors import CaseError
from chiasm.image.intensity import IntensityMap, IntensityPolicy, on_unit_range, policy_for
from chiasm.image.volume import Volume

RNG = np.random.default_rng(0)


def ball(radius=10, n=32):
    index = np.indices((n, n, n)) - (n - 1) / 2
    return (index**2).sum(axis=0) <= radius**2


def scan(background=0.0, modality="T1w"):
    """A stripped brain: intensities 300 … 700 in a ball, one value around it."""
    array = np.full((32, 32, 32), background)
    array[ball()] = RNG.uniform(300, 700, ball().sum())
    return Volume(array, np.eye(4), modality=modality)


@given(
    low=st.floats(-2000, 2000),
    width=st.floats(0.01, 5000),
    values=st.lists(st.floats(-1, 2), min_size=1, max_size=9),
)
def test_forward_and_inverse_undo_each_other(low, width, values):
    mapping = IntensityMap(low=low, high=low + width)
    unit = np.array(values, dtype=np.float32)
    there = mapping.inverse(unit)
    assert there.dtype == np.float32
    # what float32 keeps of a number as large as low
    tolerance = 1e-6 * (1 + abs(low) / width)
    np.testing.assert_allclose(mapping.forward(there), unit, atol=4 * tolerance)
    np.testing.assert_allclose(mapping.inverse(mapping.forward(there)), there, rtol=1e-5, atol=1e-5)


def test_low_is_0_high_is_1_and_nothing_is_clipped():
    mapping = IntensityMap(low=-100, high=300, units="HU", background=-1000)
    np.testing.assert_allclose(mapping.forward([-100, 100, 300, 700, -500]), [0, 0.5, 1, 2, -1])
    np.testing.assert_allclose(mapping.inverse([0, 0.5, 1, 2, -1]), [-100, 100, 300, 700, -500])


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_a_map_that_cannot_be_inverted_is_refused(ends):
    with pytest.raises(ValueError):
        IntensityMap(low=ends[0], high=ends[1])


def test_json_records_map_and_policy_whole():
    mapping = policy_for("T1w").fit(scan())
    assert IntensityMap.model_validate_json(mapping.model_dump_json()) == mapping
    policy = IntensityPolicy(kind="window", low=-5, high=7)
    assert IntensityPolicy.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize("background", [0.0, -7.5, 12.0])
def test_percentiles_are_those_of_the_head(background):
    volume = scan(background)
    mapping = IntensityPolicy(low=2, high=90).fit(volume)
    inside = volume.array[ball()]
    assert (mapping.low, mapping.high) == pytest.approx(np.percentile(inside, (2, 90)))
    assert mapping.background == background
    assert mapping.units == "a.u."
    assert np.clip(mapping.forward(volume.array[~ball()]), 0, 1).max() == 0


def test_a_given_mask_is_the_head():
    volume = scan()
    mask = np.zeros(volume.shape, dtype=bool)
    mask[14:18, 14:18, 14:18] = True
    mapping = IntensityPolicy(low=0, high=100).fit(volume, mask)
    assert mapping.low == volume.array[mask].min()
    assert mapping.high == volume.array[mask].max()
    bright = volume.array.copy()
    bright[~mask] *= 50  # what lies outside has no say
    again = IntensityPolicy(low=0, high=100).fit(volume.with_array(bright), mask)
    assert (again.low, again.high) == (mapping.low, mapping.high)


def test_a_window_does_not_depend_on_the_scan():
    policy = policy_for("CT")
    assert policy.kind == "window"
    maps = [policy.fit(scan(-1000, "CT").with_array(a)) for a in (
        scan(-1000).array, scan(-1000).array * 0.1)]  # fmt: skip
    assert maps[0].units == "HU"
    assert (maps[0].low, maps[0].high) == (maps[1].low, maps[1].high) == (policy.low, policy.high)
    # brain tissue and blood are inside, grey and white matter differ clearly
    unit = maps[0].forward([0, 25, 37, 90])
    assert unit.min() >= 0
    assert unit.max() <= 1
    assert unit[2] - unit[1] > 0.09
    assert np.clip(maps[0].forward([-1000]), 0, 1) == 0


@pytest.mark.parametrize("modality", ["T1w", "PDw", "FLAIR", "T2w", None])
def test_scales_that_are_arbitrary_take_percentiles(modality):
    policy = policy_for(modality)
    assert (policy.kind, policy.low, policy.high) == ("percentiles", 0.5, 99.5)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [(np.zeros((32, 32, 32)), "is empty"), (np.ones((32, 32, 31)), "does not fit")],
)
def test_a_mask_that_cannot_be_used_is_refused(mask, problem):
    with pytest.raises(CaseError, match=f"--mask .*{problem}"):
        policy_for("T1w").fit(scan(), mask)


def test_a_head_without_contrast_is_refused():
    volume = Volume(ball() * 5.0, np.eye(4))
    with pytest.raises(CaseError, match=r"no contrast inside the foreground \(all 5\)"):
        policy_for("T1w").fit(volume)


@pytest.mark.parametrize("ends", [(-1, 50), (50, 101), (60, 40)])
def test_illegal_percentiles_are_refused(ends):
    with pytest.raises(ValueError):
        IntensityPolicy(low=ends[0], high=ends[1])


def test_on_unit_range_forgets_the_receivers_gain():
    rng = np.random.default_rng(0)
    array = rng.uniform(10, 90, (12, 12, 12))
    mask = np.ones(array.shape, dtype=bool)
    one, other = (
        on_unit_range(Volume(gain * array + offset, np.eye(4), modality="T1w"), mask)
        for gain, offset in ((1, 0), (7.3, 40))
    )
    np.testing.assert_allclose(one.array, other.array, atol=1e-4)
    low, high = np.percentile(one.array, [0.5, 99.5])
    assert abs(low) < 1e-3
    assert abs(high - 1) < 1e-3
