"""Kept, missed and false-positive lesions, counted on volumes made by hand."""

from functools import partial

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import Volume
from chiasm.scoring import lesion_scores

SHAPE = (40, 40, 12)
WHITE = np.zeros(SHAPE, dtype=bool)
WHITE[3:37, 3:37] = True
BOXES = {
    "a": np.s_[8:12, 8:12, 4:8],
    "b": np.s_[8:12, 26:30, 4:8],
    "c": np.s_[26:30, 8:12, 4:8],
    "faint": np.s_[27:30, 27:30, 5:8],
}
LESION = np.zeros(SHAPE, dtype=bool)
for box in BOXES.values():
    LESION[box] = True


def image(spacing=1.0, bias=0.0, **contrasts):
    """White matter at 1 under noise of 0.02, with a bias along x; lesions are darker by so much."""
    array = np.where(WHITE, 1.0, 0.4) + np.random.default_rng(0).normal(0, 0.02, SHAPE)
    for name, contrast in contrasts.items():
        array[BOXES[name] if name in BOXES else np.s_[18:22, 30:34, 4:8]] -= contrast
    array *= 1 + bias * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    return Volume(array, np.diag([spacing, spacing, spacing, 1.0]))


REAL = {"a": 0.3, "b": 0.3, "c": 0.3, "faint": 0.01}
score = partial(lesion_scores, lesion=LESION, white=WHITE)


def test_a_perfect_translation_keeps_all():
    scores = score(image(**REAL), image(**REAL))
    assert (scores.lesions, scores.visible, scores.missed, scores.false_positive) == (4, 3, 0, 0)
    assert scores.kept == 1
    assert scores.contrast_real == pytest.approx(-0.3, abs=0.01)


def test_each_lesion_is_kept_or_missed_by_itself():
    made = image(a=0.2, b=0.1, c=-0.3)  # two thirds, one third, and the wrong sign
    scores = score(made, image(**REAL))
    assert scores.missed == 2
    assert scores.kept == pytest.approx((0.2 + 0.1 - 0.3) / 0.9, abs=0.05)
    assert score(made, image(**REAL), share=0.3).missed == 1


def test_a_lesion_that_only_the_translation_has_is_a_false_positive():
    scores = score(image(**REAL, new=0.25), image(**REAL))
    assert (scores.false_positive, scores.missed) == (1, 0)
    # The real image shows it too, so the true mask missed it.
    assert score(image(**REAL, new=0.25), image(**REAL, new=0.25)).false_positive == 0
    assert score(image(**REAL, new=0.1), image(**REAL)).false_positive == 0
    # A brighter spot is no lesion.
    assert score(image(**REAL, new=-0.25), image(**REAL)).false_positive == 0


def test_lesions_may_be_bright():
    bright = {name: -contrast for name, contrast in REAL.items()}
    scores = score(image(**bright, new=-0.25), image(**bright))
    assert (scores.false_positive, scores.missed) == (1, 0)
    assert scores.contrast_real == pytest.approx(0.3, abs=0.01)


def test_a_bias_field_is_no_contrast():
    scores = score(image(bias=0.2, **REAL), image(**REAL))
    assert (scores.missed, scores.false_positive) == (0, 0)
    assert scores.kept == pytest.approx(1, abs=0.1)


def test_small_components_are_not_counted():
    assert score(image(**REAL), image(**REAL), least_ml=0.05).lesions == 3  # without the faint one
    assert score(image(0.5, **REAL), image(0.5, **REAL)).lesions == 0  # all are 2 mm across
    nothing = score(image(0.5, **REAL), image(0.5, **REAL))
    assert np.isnan(nothing.kept)
    assert (nothing.missed, nothing.false_positive) == (0, 0)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(CaseError, match="mask"):
        lesion_scores(image(), image(), np.zeros_like(LESION), WHITE)
    with pytest.raises(CaseError, match="white"):
        lesion_scores(image(), image(), LESION, LESION)
    with pytest.raises(CaseError, match="grid"):
        lesion_scores(image(), image(2.0), LESION, WHITE)
