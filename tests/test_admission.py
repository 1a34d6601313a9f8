"""Whether a scan suits what is to be done with it: what is said, and when nothing is."""

from types import SimpleNamespace

import numpy as np
import pytest

from chiasm import admission, load_segmenter, load_translator
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.methods.translatability import Translatability
from chiasm.phantom import Settings, subject

CPU = Resources(device="cpu")


def volume(array, **facts):
    return Volume(np.asarray(array, np.float32), np.diag([2.0, 2, 2, 1]), **facts)


@pytest.fixture(scope="module")
def translator():
    return load_translator("brain-t1", resources=CPU)


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(resources=CPU)


@pytest.mark.parametrize(
    ("modality", "translates", "said"),
    [
        (None, True, None),
        ("PDw", True, None),
        ("T1w", True, "This scan is T1w already"),
        (None, False, None),
        ("T1w", False, None),
        ("PDw", False, "This scan is PDw, but the segmenter brain-t1-tissue knows only T1w"),
    ],
)
def test_a_modality_is_compared_with_what_is_wanted(
    modality, translates, said, translator, segmenter
):
    for with_segmenter in (True, False) if translates else (True,):
        parts = (translator if translates else None, segmenter if with_segmenter else None)
        found = admission.modality_warnings(modality, *parts)
        assert len(found) == (said is not None)
        assert all(one.startswith(said) and one.endswith(".") for one in found)


def test_a_segmenter_of_any_modality_asks_for_none():
    anything = SimpleNamespace(name="any", modality=None)
    assert admission.modality_warnings("PDw", None, anything) == []


def test_label_maps_are_told_from_scans():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, (20, 20, 20))
    (said,) = admission.content_warnings(volume(labels))
    assert said.endswith("A scan is needed.")
    # A scan of few grey levels, one of fractions, and one whose rare voxels have other values.
    assert admission.content_warnings(volume(rng.integers(0, 60, (20, 20, 20)))) == []
    assert admission.content_warnings(volume(labels + 0.5)) == []
    rare = np.zeros((100, 100, 20))
    rare.ravel()[1:40:2] = np.arange(20)
    assert admission.content_warnings(volume(rare)) == []


def test_a_head_is_told_to_a_model_of_brains_alone():
    settings = Settings(spacing=4.0, modalities=("PDw",))
    for head in (False, True):
        image = subject(3, settings.model_copy(update={"head": head})).volumes["PDw"]
        mask = image.array > np.quantile(image.array, 0.5) if head else image.array > 0
        found = admission.skull_warnings(image, mask, brain_only=["one", "other", "one"])
        assert len(found) == head
        assert admission.skull_warnings(image, mask, brain_only=[]) == []
        assert all("but one and other were trained" in one and "--mask" in one for one in found)


@pytest.mark.parametrize(("score", "limit", "warns"), [(0.1, 0.2, 1), (0.2, 0.2, 0), (0, None, 0)])
def test_translatability_warns_below_the_models_own_limit(score, limit, warns):
    found = Translatability(score=score, shared=score, agreement=1.0, slices=4, expected_from=limit)
    said = admission.translatability_warnings(found)
    assert len(said) == warns
    assert all("0.10" in one and "0.20" in one for one in said)
    assert admission.translatability_warnings(None) == []


def test_translatability_is_not_measured_where_nothing_says_what_is_good():
    scan = volume(np.pad(np.random.default_rng(0).uniform(1, 2, (8, 8, 8)), 2), modality="PDw")
    mask = scan.array > 0
    without = load_translator("brain-t1", "none", resources=CPU)
    assert admission.translatability_of(scan, without, mask) is None
    one = load_translator("brain-t1", resources=CPU)
    one.model = SimpleNamespace(config=SimpleNamespace(translatable_from=None))
    assert admission.translatability_of(scan, one, mask) is None
