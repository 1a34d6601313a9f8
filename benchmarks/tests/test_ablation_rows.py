"""The ablation's rows can be trained, and what a row costs can be measured."""

import json

import pytest

import ablation
from chiasm import api, models
from chiasm.machine.device import Resources
from chiasm.registry import DEFAULT_MODEL
from chiasm.training.settings import training_settings


def with_first_model(method, settings):
    """A translation that guides is made on the lattice of the ablation, by `ablation.FIRST`."""
    plain = training_settings(method, ablation.TARGET, None, ()).model_dump(mode="json")
    first = models.load(DEFAULT_MODEL, kind="translator").config.model_dump(mode="json")
    first |= {key: plain[key] for key in ("grid", "context")}
    guides = [
        one | {"model": first} if one["name"] == "translation" else one
        for one in settings.get("guides", [])
    ]
    return settings | ({"guides": guides} if guides else {})


def test_every_row_has_legal_settings():
    names = [row.name for row in ablation.ROWS]
    assert len(set(names)) == len(names)
    for row in ablation.ROWS:
        own = with_first_model(row.method, ablation.PLAIN[row.method] | row.train)
        told = tuple(f"{key}={json.dumps(value)}" for key, value in own.items())
        settings = training_settings(row.method, ablation.TARGET, None, told).model_dump()
        assert settings["target"] == "T1w"
        assert ablation.known(row), row.name
        for key in row.train:
            value = own[key]
            if isinstance(value, dict):  # the rest are defaults
                assert value.items() <= settings[key].items(), row.name
            else:
                assert settings[key] == value, row.name


@pytest.mark.parametrize("model", ["brain-t1", "brain-t1-lmi"])
def test_costs_of_one_step_are_measured(model):
    """The first has a curve beside its guides, the second guides that see x_t."""
    cost = ablation.cost(api.load_translator(model, resources=Resources(device="cpu")))
    assert {"train_seconds", *cost} == set(ablation.COSTS)
    assert all(value > 0 for value in cost.values())
