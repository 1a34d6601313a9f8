"""The methods of a comparison, by name: what is run with which model and options."""

import shutil

import pytest

from chiasm import api, models
from chiasm.errors import UsageError
from chiasm.evaluation.methods import fingerprint, load_methods, looks_at_neighbours
from chiasm.segmenters import Segmenter


@pytest.fixture(scope="module")
def segmenter():
    return api.load_segmenter()


def test_all_that_are_shipped(segmenter):
    found = {method.name: method for method in load_methods([], segmenter)}
    assert {"none", "histogram", "regression"} <= set(found)
    for method in found.values():
        assert method.model.model.config.target == "T1w"


def test_slices_apart_leave_out_what_looks_at_whole_volumes(segmenter, caplog):
    whole, slices = (
        {one.name: one.parts for one in load_methods([], segmenter, apart=apart)}
        for apart in (False, True)
    )
    volumes = {name for name, parts in whole.items() if any(map(looks_at_neighbours, parts))}
    assert volumes
    assert set(slices) == set(whole) - volumes
    assert all(f"left out {name}," in caplog.text for name in volumes)
    # What is named is not left out in silence: compare refuses it.
    named = load_methods([*volumes], segmenter, apart=True)
    assert volumes < {one.name for one in named}


def test_the_floor_is_always_there(segmenter):
    assert [one.name for one in load_methods(["histogram"], segmenter)] == ["none", "histogram"]


def test_options_and_levels(segmenter):
    names = ["sdedit@0.25", "sdedit@edit_from=0.75@steps=8", "none"]
    low, high, _ = load_methods(names, segmenter, seed=3, batch=2)
    assert (low.name, high.name) == tuple(names[:2])
    assert (low.model.options.edit_from, low.model.options.steps) == (0.25, None)
    assert (high.model.options.edit_from, high.model.options.steps) == (0.75, 8)
    assert (high.model.options.seed, high.model.options.batch) == (3, 2)
    assert low.identity() != high.identity()


def test_models_of_ones_own(segmenter, tmp_path):
    folder = tmp_path / "run:1"  # a colon in a name is no method
    shutil.copytree(models.SHIPPED / "brain-t1-lmi", folder)
    names = [f"mine={folder}", f"edit={folder}:sdedit@0.5", "again=brain-t1-tissue"]
    _, mine, edit, again = load_methods(names, segmenter)
    assert (mine.name, type(mine.model).__name__) == ("mine", "LMIDiffusion")
    assert (edit.name, type(edit.model).__name__) == ("edit", "SDEdit")
    assert edit.model.options.edit_from == 0.5
    assert isinstance(again.model, Segmenter)


def test_what_it_was_trained_on(segmenter):
    none, regression = load_methods(["regression"], segmenter)
    assert none.trained_on == "nothing"
    facts = regression.model.model.config.training
    count, iterations = facts["subjects"]["train"], facts["settings"]["iterations"]
    assert regression.trained_on == f"T1w, {count} subjects, {iterations} iterations"


def test_a_model_that_was_trained_anew_is_another(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(models.SHIPPED / "brain-t1-tissue", folder)
    before = fingerprint(models.load(folder, kind="segmenter"))
    assert before == fingerprint(models.load(folder, kind="segmenter"))
    weights = folder / models.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    assert fingerprint(models.load(folder, kind="segmenter")) != before
    assert str(tmp_path) not in before


def test_a_method_without_a_model_that_suits_is_refused(segmenter, monkeypatch):
    monkeypatch.setattr(models, "shipped", lambda: ["brain-t1", "brain-t1-tissue"])
    with pytest.raises(UsageError, match=r"sdedit: has no shipped model.*NAME=FOLDER:sdedit"):
        load_methods(["sdedit"], segmenter)
