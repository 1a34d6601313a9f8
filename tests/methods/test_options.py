"""The options of every method: each has its own, and another method's is refused by name."""

import pytest
from pydantic import ValidationError

from chiasm import load_translator
from chiasm.errors import UsageError
from chiasm.methods.method import flag
from chiasm.methods.options import DeterministicOptions, NetworkOptions, Options
from chiasm.registry import METHODS

# Written by hand: what a user may set. Each sentence of the documentation depends on it.
NETWORK = {"detail", "planes", "samples", "seed"}
SAMPLING = {*NETWORK, "steps", "scheduler"}
EXPECTED = {
    "regression": {*NETWORK, "iterations"},
    "lmi-diffusion": {*SAMPLING, "noise", "guidance", "estimate", "edit_from"},
    "loss-guidance": {*SAMPLING, "noise", "guidance", "strength"},
    "sdedit": {*SAMPLING, "noise", "edit_from"},
    "aldm": {*SAMPLING, "guidance", "start", "strength"},
    "paired": NETWORK,
    "cyclegan": NETWORK,
    "histogram": set(),
    "none": set(),
}
EVERY = sorted(set().union(*EXPECTED.values()))
LEGAL = {"detail": True, "planes": "axial", "noise": "shared", "scheduler": "ddim"}
LEGAL |= {
    "start": "noise",
    "estimate": "brain-t1",
    "edit_from": 0.25,
    "guidance": 2.0,
    "strength": 0.1,
}


def value_of(option):
    return LEGAL.get(option, 2)


def test_every_registered_method_is_here():
    assert set(EXPECTED) == set(METHODS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_method_has_these_options(name):
    assert set(METHODS.load(name).options.model_fields) == EXPECTED[name]


@pytest.mark.parametrize("option", EVERY)
@pytest.mark.parametrize("name", EXPECTED)
def test_an_option_is_taken_or_refused_by_name(name, option):
    method = METHODS.load(name)
    given = {option: value_of(option)}
    if option == "seed":
        given |= {"samples": 2} if "samples" in EXPECTED[name] else {}
    if option == "edit_from":
        given |= {"estimate": "brain-t1"} if "estimate" in EXPECTED[name] else {}
    if option in EXPECTED[name]:
        assert getattr(method.check(given), option) == value_of(option)
        return
    with pytest.raises(UsageError) as raised:
        method.check({option: value_of(option)})
    said = str(raised.value)
    shown = "" if value_of(option) is True else f" {value_of(option)}"
    assert said.startswith(f"{flag(option)}{shown}: is not an option of the method {name}; legal:")
    listed = said.split("legal: ")[1]
    expected = {flag(one) for one in EXPECTED[name]} or {"no method option"}
    assert set(listed.split(", ")) == expected
    assert "\n" not in said


@pytest.mark.parametrize("name", EXPECTED)
def test_every_option_has_a_sentence(name):
    for option, field in METHODS.load(name).options.model_fields.items():
        about = field.description or ""
        assert about[:1].isupper(), option
        assert about.endswith("."), option


def test_none_stands_for_what_was_not_given():
    assert METHODS.load("none").check({"steps": None}) == Options()


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("lmi-diffusion", {"steps": 0}, "--steps 0: is not legal"),
        ("lmi-diffusion", {"scheduler": "foo"}, "--scheduler foo: is not a known scheduler"),
        ("lmi-diffusion", {"guidance": float("nan")}, "--guidance nan: is not legal"),
        ("sdedit", {"edit_from": 0}, "--edit-from 0: is not legal"),
        ("sdedit", {"edit_from": 1.5}, "--edit-from 1.5: is not legal"),
        ("regression", {"samples": 0}, "--samples 0: is not legal"),
        ("regression", {"planes": "oblique"}, "--planes oblique: is not legal"),
        ("regression", {"iterations": "many"}, "--iterations many: is not legal"),
        ("regression", {"seed": 3}, "--seed 3: changes nothing"),
        ("aldm", {"start": "estimate", "steps": 4}, "--steps 4: changes nothing"),
        ("aldm", {"start": "estimate", "guidance": 2.0}, "--guidance 2.0: changes nothing"),
    ],
)
def test_an_illegal_value_is_named(name, given, said):
    with pytest.raises(UsageError) as raised:
        METHODS.load(name).check(given)
    assert str(raised.value).startswith(said)
    assert str(raised.value).count("; legal: ") == 1


def test_a_seed_counts_where_random_numbers_are_drawn():
    assert METHODS.load("regression").check({"seed": 3, "samples": 2}).seed == 3
    assert METHODS.load("lmi-diffusion").check({"seed": 3}).seed == 3


def test_options_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        NetworkOptions().samples = 2
    with pytest.raises(ValidationError, match="extra"):
        DeterministicOptions(steps=2)


def test_loading_refuses_an_option_of_another_method():
    with pytest.raises(UsageError, match=r"^--edit-from 0\.5: is not an option of .* regression"):
        load_translator("brain-t1", edit_from=0.5)
