"""What settings are refused before anything is read, and the recipes that are not."""

from pathlib import Path

import pytest
import yaml

from chiasm.errors import UsageError
from chiasm.registry import METHODS, SEGMENTER_TRAININGS
from chiasm.training import settings as module
from chiasm.training.settings import training_settings

RECIPES = sorted((Path(module.__file__).parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_legal_for_its_method(recipe):
    """And for no setting that does not exist; the Makefile says which method a recipe is of."""
    made = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert recipe.stem in made or recipe.stem.removeprefix("brain-t1-") in made
    told = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    found = []
    for method in [*METHODS, *SEGMENTER_TRAININGS]:
        try:
            chosen = training_settings(method, "T1", recipe, (), ("T2",))
        except UsageError:
            continue
        kept = chosen.model_dump(mode="json")
        assert all(kept[key] == value for key, value in told.items() if isinstance(value, int))
        found.append(method)
    assert found


@pytest.mark.parametrize(
    ("method", "told", "said"),
    [
        ("aldm", "augmentation={rotation: 0, scale: 0, crop: [8, 8]}", "augmentation.crop"),
        ("regression", "augmentation={rotation: 0, scale: 0, crop: [8, 8, 8]}", "crop"),
        ("regression", "augmentation.crop=[8, 8]", "rotation and scale"),
        ("regression", "augmentation={rotation: 0, scale: 0, crop: [8, 0]}", "crop"),
    ],
)
def test_boxes_that_no_sample_has_are_refused(method, told, said):
    with pytest.raises(UsageError, match=said):
        training_settings(method, "T1", None, (told,), ("T2",))


def test_a_target_that_is_no_modality_is_told_in_one_line_of_its_own():
    assert training_settings("regression", "t1").target == "T1w"
    with pytest.raises(UsageError) as raised:
        training_settings("regression", "foo")
    said = str(raised.value)
    assert said.startswith("target foo: is not a known modality")
    assert said.count("legal:") == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("train_subjects=[01, 2]", "holds numbers; legal: names in quotes, such as ['sub-01']"),
        ("validation_subjects=7", "is not legal; legal: a valid list"),
        ("batch=0", "is not legal; legal: greater than or equal to 1"),
        ("contrast.loudness=1", "is not a setting; legal: the settings are knots, roughness"),
        ("anatomies.tall=1", "is not a setting; legal: the settings are rotation, shear"),
        ("contrast.modalities={XX: 1}", "XX: no such modality; legal: T1w, PDw"),
        ("error_network={arguments: {}}", "name: is missing; legal: a value"),
    ],
)
def test_an_illegal_setting_is_told_with_what_is_legal_for_it(word, said):
    with pytest.raises(UsageError) as raised:
        training_settings("regression", "T1w", None, (word,))
    assert said in str(raised.value)
    assert str(raised.value).startswith(word.partition("=")[0])
