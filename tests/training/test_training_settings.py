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
