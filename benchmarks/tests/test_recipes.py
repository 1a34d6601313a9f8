"""Every recipe is legal for the method that the Makefile trains it by."""

import re
from pathlib import Path

import pytest
import yaml

# These register the trainings, the guide and the method that recipes name.
import joint.joint  # noqa: F401
import published.guide  # noqa: F401
import stylegan.method  # noqa: F401
from chiasm.training.settings import training_settings

FOLDER = Path(__file__).parents[1]
RECIPES = sorted((FOLDER / "recipes").glob("*.yaml"))


def method_of(stem):
    """As the Makefile says it, on the line of its model or on that of its file."""
    made = (FOLDER / "Makefile").read_text(encoding="utf-8")
    model = stem.replace("brain-t1", "heads")  # what is trained on heads has their name
    own = rf"{model}/model.safetensors: METHOD := --method (\S+)|{stem}.yaml --method (\S+)"
    (found,) = {first or second for first, second in re.findall(own, made)}
    return found


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_legal_for_its_method(recipe):
    sources = ("T2",) if method_of(recipe.stem) in ("paired", "cyclegan") else ()
    chosen = training_settings(method_of(recipe.stem), "T1", recipe, (), sources)
    kept = chosen.model_dump(mode="json")
    told = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert all(kept[key] == value for key, value in told.items() if isinstance(value, int | float))
