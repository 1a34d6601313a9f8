"""The methods of a comparison, by name: what is run with which model and options."""

import json
import shutil

import pytest

from chiasm import models
from chiasm.comparison.methods import load_methods
from chiasm.errors import UsageError
from chiasm.machine.device import Resources
from chiasm.segmenters.load import load_segmenter


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter()


def test_all_that_are_shipped(segmenter):
    found = {method.name: method for method in load_methods([], segmenter)}
    assert {"none", "histogram", "regression"} <= set(found)
    for method in found.values():
        assert method.pipeline.target == "T1w"


def test_the_floor_is_always_there(segmenter):
    assert [one.name for one in load_methods(["histogram"], segmenter)] == ["none", "histogram"]


def test_options_and_levels(segmenter):
    names = ["sdedit@0.25", "sdedit@edit_from=0.75@steps=5", "none"]
    low, high, _ = load_methods(names, segmenter, seed=3, resources=Resources(batch=2))
    assert (low.name, high.name) == tuple(names[:2])
    first, second = low.pipeline.translator, high.pipeline.translator
    assert (first.options.edit_from, first.options.steps) == (0.25, 8)
    assert (second.options.edit_from, second.options.steps) == (0.75, 5)
    assert (second.options.seed, second.resources.batch) == (3, 2)
    assert low.identity() != high.identity()


def test_models_of_ones_own(segmenter, tmp_path):
    folder = tmp_path / "run:1"  # a colon in a name is no method
    shutil.copytree(models.SHIPPED / "brain-t1-lmi", folder)
    names = [f"mine={folder}", f"edit={folder}:sdedit@0.5", "again=brain-t1-tissue"]
    _, mine, edit, again = load_methods(names, segmenter)
    assert (mine.name, mine.pipeline.translator.method.name) == ("mine", "lmi-diffusion")
    assert (edit.name, edit.pipeline.translator.method.name) == ("edit", "sdedit")
    assert edit.pipeline.translator.options.edit_from == 0.5
    assert again.pipeline.translator is None
    assert again.pipeline.segmenter.name == "brain-t1-tissue"


def test_what_it_was_trained_on(segmenter):
    none, regression = load_methods(["regression"], segmenter)
    assert none.trained_on == "nothing"
    facts = regression.pipeline.translator.model.config.training
    count, iterations = facts["subjects"]["train"], facts["settings"]["iterations"]
    assert regression.trained_on == f"T1w, {count} subjects, {iterations} iterations"


def test_a_model_that_was_trained_anew_is_another(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(models.SHIPPED / "brain-t1-tissue", folder)
    before = models.load(folder, kind="segmenter").fingerprint
    assert before == models.load(folder, kind="segmenter").fingerprint
    weights = folder / models.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    assert models.load(folder, kind="segmenter").fingerprint != before
    assert str(tmp_path) not in before


def test_a_method_without_a_model_that_suits_is_refused(segmenter, monkeypatch):
    monkeypatch.setattr(models, "shipped", lambda: ["brain-t1", "brain-t1-tissue"])
    with pytest.raises(UsageError, match=r"sdedit: has no shipped model.*NAME=FOLDER:sdedit"):
        load_methods(["sdedit"], segmenter)


def seeing(folder, context, **settings):
    """A segmenter of this context, as far as its config says."""
    path = models.SHIPPED / "brain-t1-tissue" / models.CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"context": context, "settings": settings}
    (folder / models.CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return load_segmenter(folder)


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("lmi-diffusion", True),  # of slices with neighbours, and of three planes
        ("regression", True),
        ("sdedit", True),  # of slices with neighbours
        ("histogram", False),
    ],
)
def test_who_reads_more_than_the_slice_itself(tmp_path, name, looks):
    segmenter = seeing(tmp_path, {"kind": "2d"})
    found = {method.name: method for method in load_methods([name], segmenter)}
    assert found[name].reads_more_than_slices is looks


@pytest.mark.parametrize(
    ("context", "settings"),
    [
        ({"kind": "2d"}, {"inference_planes": "orthogonal"}),
        ({"kind": "2.5d", "neighbours": 1}, {}),
        ({"kind": "3d"}, {}),
    ],
)
def test_so_does_every_method_if_the_segmenter_reads_more(tmp_path, context, settings):
    segmenter = seeing(tmp_path, context, **settings)
    assert all(one.reads_more_than_slices for one in load_methods(["histogram"], segmenter))
