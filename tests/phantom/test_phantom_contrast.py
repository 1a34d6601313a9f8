"""Signal equations against values worked out by hand, and the order of tissues."""

import math

import numpy as np
import pytest

from chiasm.phantom.contrast import (
    PROPERTIES,
    SEQUENCES,
    Biology,
    PulseSequence,
    Tissue,
    inversion_recovery,
    null_time,
    spin_echo,
)


def test_spin_echo_at_the_tissue_s_own_times():
    # TR = T1 and TE = T2: 0.8 · (1 − 1/e) · 1/e.
    expected = 0.8 * (1 - 1 / math.e) / math.e
    assert spin_echo(Tissue(0.8, 1000, 80), 1000, 80) == pytest.approx(expected, rel=1e-12)


def test_spin_echo_of_white_matter_by_hand():
    # 0.7 · (1 − exp(−500/650)) · exp(−15/75) = 0.7 · 0.536629 · 0.818731
    assert spin_echo(Tissue(0.7, 650, 75), 500, 15) == pytest.approx(0.307549, abs=1e-6)


def test_spin_echo_limits():
    tissue = Tissue(0.7, 650, 75)
    assert spin_echo(tissue, 1e9, 0) == pytest.approx(0.7)
    assert spin_echo(tissue, 0, 15) == 0


def test_inversion_recovery_by_hand():
    # TI = T1 · ln 2, TR = T1 · ln 10, TE = T2 · ln 2: 0.9 · |1 − 1 + 0.1| · 0.5
    tissue = Tissue(0.9, 1000, 100)
    times = 1000 * math.log(10), 100 * math.log(2), 1000 * math.log(2)
    assert inversion_recovery(tissue, *times) == pytest.approx(0.045, rel=1e-12)


def test_inversion_recovery_is_a_magnitude():
    # Right after the inversion, fully relaxed before: −PD, seen as PD.
    assert inversion_recovery(Tissue(0.9, 1000, 100), 1e9, 0, 0) == pytest.approx(0.9)


def test_no_signal_at_the_null_time():
    csf = Tissue(1, 4300, 2000)
    assert null_time(4300, 1e9) == pytest.approx(4300 * math.log(2))
    assert inversion_recovery(csf, 9000, 100, null_time(4300, 9000)) == pytest.approx(0, abs=1e-12)


def test_sensitivity_is_the_derivative():
    # ∂S/∂ln T of PD·(1 − e^{−a})·e^{−b} with a = TR/T1, b = TE/T2, both ∝ 1/T.
    tissue, a, b = Tissue(0.8, 1000, 80), 0.5, 0.25
    exact = 0.8 * math.exp(-b) * (-a * math.exp(-a) + b * (1 - math.exp(-a)))
    sequence = PulseSequence("", 500, 20)
    assert sequence.sensitivity(tissue) == pytest.approx(exact, rel=1e-3)


def signals(modality, seed):
    rng = np.random.default_rng(seed)
    biology = Biology.draw(rng, tuple(PROPERTIES))
    sequence = SEQUENCES[modality](rng, biology.tissues["csf"].t1)
    tissues = biology.seen_by(sequence)
    return {name: sequence.signal(tissues[name]) for name in tissues}


@pytest.mark.parametrize("seed", range(60))
def test_order_of_tissues(seed):
    t1, pd, t2, flair = (signals(m, seed) for m in ("T1w", "PDw", "T2w", "FLAIR"))
    assert t1["csf"] < t1["grey"] < t1["white"] < t1["fat"]
    assert t2["white"] < t2["grey"] < t2["csf"]
    assert pd["white"] < pd["grey"]
    assert flair["csf"] < 0.4 * min(flair["white"], flair["grey"])
    for image in (pd, t2, flair):
        assert image["lesion"] > 1.05 * image["white"]
    for image in (t2, flair):
        assert image["lesion"] > 1.05 * image["grey"]
    for image in (t1, pd, t2, flair):
        assert image["skull"] < 0.2 * image["white"]


def test_lesions_look_grey_on_t1():
    for seed in range(20):
        t1 = signals("T1w", seed)
        assert 0.6 * t1["grey"] < t1["lesion"] < 1.02 * t1["white"]


def test_sequences_stay_in_clinical_ranges():
    rng = np.random.default_rng(0)
    drawn = {m: [SEQUENCES[m](rng, 4300) for _ in range(200)] for m in SEQUENCES}
    assert all(2000 <= s.tr <= 4000 and 8 <= s.te <= 30 for s in drawn["PDw"])
    assert all(3000 <= s.tr <= 6000 and 80 <= s.te <= 120 for s in drawn["T2w"])
    assert all(6000 <= s.tr <= 11000 and 90 <= s.te <= 140 for s in drawn["FLAIR"])
    assert {s.ti is None for s in drawn["T1w"]} == {True, False}
    assert all(400 <= s.tr <= 700 and 8 <= s.te <= 20 for s in drawn["T1w"] if s.ti is None)


def test_biology_stays_near_the_published_values():
    for seed in range(20):
        biology = Biology.draw(np.random.default_rng(seed), (3.0,))
        assert biology.field_strength == 3
        for name, tissue in biology.tissues.items():
            published = PROPERTIES[3.0][name]
            assert tissue.pd == pytest.approx(published.pd, rel=0.0151)
            assert tissue.t1 == pytest.approx(published.t1, rel=0.0501)
            assert tissue.t2 == pytest.approx(published.t2, rel=0.0501)


def test_inflow_shortens_csf_in_spin_echoes_only():
    tissues = PROPERTIES[1.5]
    biology = Biology(1.5, tissues, inflow=1.0)
    assert biology.seen_by(PulseSequence("", 500, 10))["csf"].t1 == pytest.approx(2569)
    assert biology.seen_by(PulseSequence("", 9000, 100, 2500))["csf"].t1 == 4300
