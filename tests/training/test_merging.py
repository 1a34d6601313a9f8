"""A setting that a user does not name keeps the method's default, however deep it lies."""

import pytest
import yaml

from chiasm.errors import UsageError
from chiasm.registry import METHODS, SEGMENTER_TRAININGS
from chiasm.training.settings import merged, objective_of, training_settings


def from_yaml(tmp_path, method, text, *words):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return training_settings(method, "T1w", path, words)


def test_a_mapping_leaves_its_neighbours_at_the_methods_defaults(tmp_path):
    default = training_settings("segmenter", "T1w")
    changed = from_yaml(tmp_path, "segmenter", "contrast: {noise: 0.1}")
    assert changed.contrast == default.contrast.model_copy(update={"noise": 0.1})
    # Which are the method's own, and not those of the class.
    assert (changed.contrast.gamma, changed.contrast.blur) == (0.15, 0.7)


def test_the_same_by_a_dotted_key_and_deeper(tmp_path):
    settings = from_yaml(
        tmp_path,
        "aldm",
        "sources: [T2w]\nlatent: {autoencoder: {codes: 64}}",
        "latent.autoencoder.latent=3",
    )
    default = training_settings("aldm", "T1w", None, (), ("T2w",)).latent
    assert settings.latent.autoencoder == default.autoencoder | {"codes": 64, "latent": 3}
    assert settings.latent.translator == default.translator


def test_another_network_takes_no_argument_of_the_first(tmp_path):
    network = {"name": "diffusion-unet", "arguments": {"channels": [8, 16]}}
    text = yaml.safe_dump({"network": network})
    assert from_yaml(tmp_path, "regression", text).network == network
    # The same name again is no other network.
    text = "network: {name: unet, arguments: {norm: instance}}"
    default = training_settings("regression", "T1w").network
    expected = default["arguments"] | {"norm": "instance"}
    assert from_yaml(tmp_path, "regression", text).network["arguments"] == expected


def test_a_list_is_replaced_as_a_whole(tmp_path):
    text = "guides: [{name: edges}]\nnetwork: {arguments: {features: [4, 4, 4, 4, 4, 4]}}"
    settings = from_yaml(tmp_path, "regression", text)
    assert settings.guides == [{"name": "edges"}]
    assert settings.network["arguments"]["features"] == [4] * 6
    assert settings.network["arguments"]["norm"] == "batch"


def test_null_switches_off(tmp_path):
    settings = from_yaml(tmp_path, "regression", "detail_transfer: null\nintensity_mapping: null")
    assert settings.detail_transfer is None
    assert settings.intensity_mapping is None
    # And a mapping over it begins at the defaults of its class.
    again = from_yaml(tmp_path, "paired", "sources: [T2w]\ndetail_transfer: {width: 3}")
    assert again.detail_transfer.width == 3
    assert again.detail_transfer.reach == 3.0


def test_merging_by_hand():
    low = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "n": {"name": "x", "k": 1}}
    over = {"b": {"d": {"f": 4}}, "n": {"name": "y"}, "g": [5]}
    expected = {
        "a": 1,
        "b": {"c": 2, "d": {"e": 3, "f": 4}},
        "n": {"name": "y"},
        "g": [5],
    }
    assert merged(low, over) == expected
    assert low == {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "n": {"name": "x", "k": 1}}


TRAINED = [*(one for one in METHODS if METHODS.load(one).objective), *SEGMENTER_TRAININGS]
FIELDS = {name: set(objective_of(name).settings_class.model_fields) for name in TRAINED}
OWN = sorted(set().union(*FIELDS.values()) - set.intersection(*FIELDS.values()))


FOREIGN = [(method, one) for method in TRAINED for one in OWN if one not in FIELDS[method]]


@pytest.mark.parametrize(("method", "setting"), FOREIGN)
def test_a_setting_of_another_method_is_refused_and_named(method, setting):
    with pytest.raises(UsageError) as raised:
        training_settings(method, "T1w", None, (f"{setting}=1",), ("T2w",))
    said = str(raised.value)
    assert said.startswith(f"{setting} 1: ")
    named = said.split("the settings are ")[1].split(", ")
    assert set(named) == FIELDS[method]


@pytest.mark.parametrize("words", ["contrast.loudness=1", "intensity_mapping.passes=2"])
def test_an_unknown_key_within_a_mapping_is_named(words):
    key = words.partition("=")[0]
    with pytest.raises(UsageError, match=f"^{key} "):
        training_settings("regression", "T1w", None, (words,))


@pytest.mark.parametrize("former", ["calibration", "detail", "late"])
def test_former_names_are_refused(former):
    with pytest.raises(UsageError, match=f"^{former} "):
        training_settings("lmi-diffusion", "T1w", None, (f"{former}=1",))
