"""What every registered method declares agrees with what it is made of."""

import json

import pytest

from chiasm import load_translator, models
from chiasm.errors import CaseError, UsageError
from chiasm.methods.base import IntensityTranslator, NetworkTranslator, Translator
from chiasm.methods.method import Method
from chiasm.methods.options import NetworkOptions, Options
from chiasm.registry import METHODS, SEGMENTER_TRAININGS
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings, objective_of

EVERY = list(METHODS)
TRAINED = [name for name in METHODS if METHODS.load(name).objective is not None]


@pytest.mark.parametrize("name", EVERY)
def test_it_loads_and_is_what_it_says(name):
    method = METHODS.load(name)
    assert isinstance(method, Method)
    assert method.name == name
    assert issubclass(method.options, Options)
    kind = method.load_translator()
    assert issubclass(kind, Translator)
    assert issubclass(kind, NetworkTranslator) == issubclass(method.options, NetworkOptions)
    # What needs no weights can run any translator's config, and the other way round.
    assert issubclass(kind, IntensityTranslator) == (method.runs == ())
    assert kind.reads_weights == bool(method.runs)
    assert set(method.runs) <= set(TRAINED)
    assert (name in method.runs) == (name in TRAINED)


@pytest.mark.parametrize("name", EVERY)
def test_its_description_is_a_sentence(name):
    about = METHODS[name].about
    assert about[0].isupper()
    assert about.endswith(".")
    assert "\n" not in about


@pytest.mark.parametrize("name", TRAINED)
def test_what_a_model_keeps_is_a_setting_of_its_training(name):
    method, objective = METHODS.load(name), METHODS.load(name).load_objective()
    assert issubclass(objective, Objective)
    assert objective.kind == "translator"
    assert objective.method == name
    assert issubclass(objective.settings_class, TrainingSettings)
    fields = set(objective.settings_class.model_fields)
    assert set(method.model_settings) <= fields
    # Those that every model has are fields of the config itself.
    assert not set(method.model_settings) & set(models.ModelConfig.model_fields)


def test_what_cannot_be_trained_is_refused_with_what_can():
    assert objective_of("regression") is METHODS.load("regression").load_objective()
    with pytest.raises(UsageError) as raised:
        objective_of("sdedit")
    legal = str(raised.value).split("legal: ")[1].split(", ")
    assert legal == [*TRAINED, *SEGMENTER_TRAININGS]


def write_config(folder, **changes):
    config = models.peek("brain-t1")
    config["settings"] = config["settings"] | changes
    (folder / models.CONFIG).write_text(json.dumps(config))
    return folder


def test_a_config_with_a_setting_of_another_method_is_refused(tmp_path):
    write_config(tmp_path, inversion={"iterations": 3})
    with pytest.raises(CaseError, match="regression does not have the settings inversion"):
        load_translator(tmp_path)


def test_an_illegal_setting_in_a_config_is_named(tmp_path):
    write_config(tmp_path, intensity_mapping={"nodes": 1})
    with pytest.raises(CaseError, match=r"illegal settings\.intensity_mapping\.nodes"):
        load_translator(tmp_path)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("model", ["brain-t1", "brain-t1-lmi", "brain-any"])
def test_a_method_runs_the_models_that_it_says_and_no_other(name, model):
    runs = METHODS.load(name).runs
    trained_for = models.peek(model)["method"]
    if not runs or trained_for in runs:
        assert load_translator(model, name).method.name == name
        return
    with pytest.raises(UsageError, match=f"was trained for {trained_for}, which {name} cannot"):
        load_translator(model, name)
