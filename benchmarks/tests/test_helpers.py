"""Small parts of the benchmarks: seconds of stages, people of a dataset, tissues of structures."""

import json
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import tiny

from chiasm.image.volume import LabelVolume
from chiasm.phantom import Settings
from chiasm.phantom.dataset import subject_seed
from chiasm.phantom.head_subject import head_subject, label_maps
from chiasm.segmenters.base import Segmentation, Segmenter
from gpu import lengths, seconds_of
from harness import saved_options
from people import PARTS, subjects_of
from phantom import cases
from samseg import tissues


class OneLabel(Segmenter):
    """Labels everything as background."""

    def segment(self, volume, mask=None):
        return Segmentation(LabelVolume(np.zeros(volume.shape, np.int16), volume.affine))


def test_brains_are_heads_of_people_if_label_maps_are_given(tmp_path):
    folder = tiny.label_maps(tmp_path / "people", count=3)
    chosen = Namespace(subjects=2, slices=3, seed=5, spacing=4.0, anatomies=folder)
    found = list(cases(chosen, ["PDw"], "T1w", OneLabel()))
    assert [one.subject for one in found] == ["01", "02"]
    settings = Settings(modalities=("T1w", "PDw"), spacing=4.0)
    for number, case in enumerate(found, start=1):
        expected = head_subject(subject_seed(5, number), settings, label_maps(folder))
        np.testing.assert_array_equal(case.complete.source.array, expected.volumes["PDw"].array)
        assert case.source.shape[2] == 3
    # A results file keeps the number of people and no path.
    assert saved_options(chosen, "seed") == {
        "subjects": 2,
        "slices": 3,
        "spacing": 4.0,
        "people": 3,
    }
    chosen.anatomies = None
    assert "people" not in saved_options(chosen)


def finished(folder, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"training": {"seconds": seconds}}))


def test_the_seconds_of_stages_are_found_where_the_training_puts_them(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("iterations: 100\nstages: {a: {iterations: 5}, b: {iterations: 7}}\n")
    planned = lengths(recipe)
    assert planned == {"iterations": 100, "stages.a.iterations": 5, "stages.b.iterations": 7}
    # The stage without a length of its own is the last one, as in ALDM.
    aldm = tmp_path / "aldm"
    for folder, seconds in ((aldm, 30), (aldm / "a", 10), (aldm / "b", 20)):
        finished(folder, seconds)
    assert [seconds_of(aldm, key, planned) for key in planned] == [30, 10, 20]
    # Or it is the first one, as in regression, and the last is named.
    recipe.write_text("iterations: 100\nstages: {error: {iterations: 5}}\n")
    planned = lengths(recipe)
    regression = tmp_path / "regression"
    finished(regression, 3)
    finished(regression / "image", 90)
    assert [seconds_of(regression, key, planned) for key in planned] == [90, 3]
    plain = tmp_path / "plain"
    finished(plain, 50)
    assert seconds_of(plain, "iterations", ["iterations"]) == 50


@pytest.mark.parametrize("people", [3, 5, 20])
def test_no_person_is_in_two_parts(people):
    rng = np.random.default_rng(0)
    names = [f"sub-{k:02d}" for k in range(1, 61)]
    anatomy = rng.permutation([f"map_{k % people:02d}.nii.gz" for k in range(60)])
    table = pd.DataFrame({"participant_id": names, "anatomy": anatomy})
    parts = {part: subjects_of(table, part) for part in PARTS}
    assert sorted(name for own in parts.values() for name in own) == names
    of = dict(zip(names, anatomy, strict=True))
    persons = [{of[one] for one in own} for own in parts.values()]
    assert all(persons)
    assert len(set.union(*persons)) == sum(map(len, persons)) == people
    if people == 20:
        assert [len(one) for one in persons] == [14, 5, 1]


def test_structures_become_tissues_and_unknown_ones_background():
    structures = np.array([0, 2, 3, 24, 80, 29, 42, 7, 10]).reshape(3, 3, 1)
    made = tissues(LabelVolume(structures, np.eye(4)))
    assert made.array.ravel().tolist() == [0, 3, 2, 1, 0, 0, 2, 3, 2]
    assert [one.name for one in made.labels][:4] == ["background", "csf", "grey", "white"]
