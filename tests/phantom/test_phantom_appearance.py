"""The look of the structures, against the signal equations at their limits and clinical truths."""

import numpy as np
import pytest

from chiasm.phantom.appearance import (
    APPEARANCES,
    BRAIN,
    Properties,
    canonical_t1,
    gradient_echo,
    signals,
)
from chiasm.phantom.contrast import Tissue
from chiasm.phantom.structures import NAMES, STRUCTURES, TISSUE_OF

GREY = Tissue(0.8, 1200.0, 90.0)


def at(values, name):
    return values[NAMES.index(name)]


def draws(modality, count=40):
    return np.stack([signals(np.random.default_rng(seed), modality) for seed in range(count)])


# ---- gradient echo


def test_a_gradient_echo_at_its_limits():
    # TR → ∞: all magnetisation has recovered, and sin α of it is seen.
    full = gradient_echo(GREY, 50.0, 1e9, 0.0, 30.0)
    assert full == pytest.approx(0.8 * 0.5)
    # α = 90°: the saturation recovery PD (1 − exp(−TR/T1)).
    saturated = gradient_echo(GREY, 50.0, 600.0, 0.0, 90.0)
    assert saturated == pytest.approx(0.8 * (1 - np.exp(-0.5)))
    # TE = T2*: 1/e of the signal at TE = 0.
    assert gradient_echo(GREY, 50.0, 600.0, 50.0, 20.0) == pytest.approx(
        gradient_echo(GREY, 50.0, 600.0, 0.0, 20.0) / np.e
    )
    assert gradient_echo(GREY, 50.0, 600.0, 0.0, 0.0) == 0
    assert gradient_echo(GREY, 50.0, 0.0, 0.0, 30.0) == 0


def test_the_ernst_angle_gives_the_most_signal():
    tr = 500.0
    best = np.rad2deg(np.arccos(np.exp(-tr / GREY.t1)))
    signal = [gradient_echo(GREY, 50.0, tr, 0.0, best + step) for step in (-3, 0, 3)]
    assert max(signal) == signal[1]


def test_the_steady_state_is_that_of_repeated_pulses():
    """Bloch: flip the magnetisation and let it recover, until nothing changes."""
    tr, flip, mz = 300.0, np.deg2rad(35), 1.0
    for _ in range(200):
        seen = mz * np.sin(flip)
        mz = 1 + (mz * np.cos(flip) - 1) * np.exp(-tr / GREY.t1)
    assert gradient_echo(GREY, 40.0, tr, 0.0, 35.0) == pytest.approx(0.8 * seen)


# ---- properties


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_properties_stay_near_the_published_ones(field):
    for seed in range(10):
        drawn = Properties.draw(np.random.default_rng(seed), (field,))
        assert drawn.field_strength == field
        for own, star, structure in zip(drawn.tissues, drawn.t2_star, STRUCTURES, strict=True):
            published = structure.properties[field == 3.0]
            assert own.pd == pytest.approx(published.pd, rel=0.0301)
            assert own.t1 == pytest.approx(published.t1, rel=0.167)
            assert own.t2 == pytest.approx(published.t2, rel=0.167)
            wanted = structure.t2_star * (1.3 if field == 1.5 else 1)
            assert star == pytest.approx(wanted, rel=0.266)


def test_the_field_strength_is_one_of_those_allowed():
    seen = {Properties.draw(np.random.default_rng(s), (1.5, 3.0)).field_strength for s in range(20)}
    assert seen == {1.5, 3.0}


def test_t1_is_longer_at_three_tesla():
    """But for water and its like, whose T1 does not depend on the field."""
    for structure in STRUCTURES[1:]:
        low, high = structure.properties
        assert high.t1 >= low.t1, structure.name


# ---- modalities


@pytest.mark.parametrize("modality", APPEARANCES)
def test_signals_repeat_by_seed_and_are_finite(modality):
    one, again, other = (signals(np.random.default_rng(seed), modality) for seed in (1, 1, 2))
    assert one.shape == (len(STRUCTURES),)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0
    assert np.isfinite(draws(modality)).all()
    if modality != "CT":
        assert draws(modality).min() >= 0
        assert (draws(modality)[:, 0] == 0).all()  # air


def always(modality, *rising, share=0.95):
    """In almost all random scans, these structures become brighter from left to right."""
    values = draws(modality)[:, [NAMES.index(name) for name in rising]]
    assert (np.diff(values, axis=1) > 0).all(axis=1).mean() >= share, np.median(values, axis=0)


def test_what_radiologists_know_of_each_modality():
    always("T1w", "ventricles", "cortex", "white matter")
    always("T2w", "white matter", "cortex", "white-matter lesion", "ventricles")
    always("PDw", "white matter", "cortex")
    always("FLAIR", "ventricles", "white matter", "white-matter lesion")
    always("FLAIR", "ventricles", "oedema")
    always("T2starw", "pallidum", "cortex")  # iron
    always("T2starw", "compact bone", "white matter")
    always("CT", "air", "fat", "ventricles", "cortex", "compact bone")
    always("CT", "white matter", "cortex", share=0.9)


def test_an_agent_enhances_a_tumour_but_not_white_matter():
    before, after = draws("T1w"), draws("T1ce")
    ratio = [np.median(x, 0) / at(np.median(x, 0), "white matter") for x in (before, after)]
    assert at(ratio[1], "tumour") > 1.2 * at(ratio[0], "tumour")
    assert at(ratio[1], "mucosa") > 1.2 * at(ratio[0], "mucosa")
    assert at(ratio[1], "cortex") == pytest.approx(at(ratio[0], "cortex"), rel=0.1)


def test_fat_is_suppressed_in_some_scans():
    values = draws("T1w", 80)
    share = (at(values.T, "fat") < 0.5 * at(values.T, "white matter")).mean()
    assert 0.1 < share < 0.45


def test_ct_numbers_scatter_around_the_table():
    values = draws("CT", 200)
    assert (values[:, 0] == -1000).all()  # by the calibration of scanners
    table = np.array([one.hounsfield for one in STRUCTURES])
    soft = np.abs(table) < 150
    assert np.abs(values.mean(0) - table)[soft].max() < 2.0
    assert 1.5 < values[:, NAMES.index("cortex")].std() < 4


# ---- the contrast that is learned


def test_the_canonical_contrast():
    t1 = canonical_t1()
    assert t1.shape == (len(STRUCTURES),)
    assert at(t1, "air") == 0
    assert at(t1, "white matter") == pytest.approx(110 / 125)
    assert at(t1, "fat") == 1  # limited
    assert t1.max() == 1
    assert at(t1, "ventricles") < at(t1, "cortex") < at(t1, "white matter")


def test_the_brain_is_csf_grey_and_white_matter_and_lesions():
    for inside, tissue in zip(BRAIN, TISSUE_OF, strict=True):
        assert inside == (tissue in ("csf", "grey", "white", "lesion"))
