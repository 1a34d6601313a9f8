"""The methods of a comparison, under the names that a user gives them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chiasm import models
from chiasm.errors import UsageError, explain
from chiasm.image.planes import OWN
from chiasm.machine.device import Resources
from chiasm.methods.load import load_translator
from chiasm.pipeline import Pipeline
from chiasm.registry import METHODS, SEGMENTERS
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter

FLOOR = "none"
_GRAMMAR = "METHOD, NAME=FOLDER or NAME=FOLDER:METHOD, each with @option=value after it"
_BARE = "edit_from"  # the option of a value without a name, as in sdedit@0.25


@dataclass(frozen=True)
class Candidate:
    """A method of a comparison.

    Attributes
    ----------
    name : str
        The name of the method in the rows.
    pipeline : Pipeline
        A translator and the segmenter common to all translations, or a segmenter alone, which
        segments the untranslated source.
    """

    name: str
    pipeline: Pipeline

    def knows(self, source: str | None) -> bool:
        """Whether it can be run on this modality. Some models know only the sources of training."""
        translator = self.pipeline.translator
        learned = translator is not None and translator.reads_weights
        known = translator.model.config.sources if translator is not None and learned else []
        return not known or source in known

    @property
    def configs(self) -> list[models.ModelConfig]:
        """The configs of the models that it runs, its own first, without the common segmenter."""
        translator = self.pipeline.translator
        if translator is not None:
            return [one.config for one in translator.models] if translator.reads_weights else []
        model = getattr(self.pipeline.segmenter, "model", None)
        return [] if model is None else [model.config]

    @property
    def reads_more_than_slices(self) -> bool:
        """Whether it reads more of the scan than the scored slices: neighbours or other planes.

        Either its translator does, or the segmenter.
        """
        parts = (self.pipeline.translator, self.pipeline.segmenter)
        planes = {plane for one in parts for plane in getattr(one, "grids", {})} - {OWN}
        model = getattr(self.pipeline.segmenter, "model", None)
        configs = [*self.configs, *([] if model is None else [model.config])]
        return bool(planes) or any(config.context.kind != "2d" for config in configs)

    @property
    def trained_on(self) -> str:
        """Modalities, number of subjects and iterations of its training, in words."""
        if not self.configs:
            return "nothing"
        config = self.configs[0]
        facts, settings = config.training, config.training.get("settings", {})
        words = [" and ".join([config.target, *settings.get("sources", [])])]
        if (count := facts.get("subjects", {}).get("train")) is not None:
            words.append(f"{count} subjects")
        if "iterations" in settings:
            words.append(f"{settings['iterations']} iterations")
        return ", ".join(words)

    def identity(self) -> dict[str, Any]:
        """The settings that its rows depend on. Equal settings give equal rows."""
        translator = self.pipeline.translator
        settings = self.pipeline.settings()
        if translator is None:
            return settings
        chosen = translator.options.model_dump(mode="json", exclude_none=True)
        return {"method": settings["method"], "model": settings["model"], **chosen}


def load_methods(
    specifications: Sequence[str],
    segmenter: Segmenter,
    *,
    seed: int = 0,
    resources: Resources | None = None,
) -> list[Candidate]:
    """Load the methods that specifications name. The floor, ``none``, is always among them.

    Parameters
    ----------
    specifications : sequence of str
        Each is one of three forms. ``METHOD`` is a registered method, run with the shipped model
        that suits it. ``NAME=FOLDER`` is a model of one's own: a translator, or a segmenter that
        segments the untranslated source. ``NAME=FOLDER:METHOD`` runs a method with a model of
        one's own. Options of the method may follow, as in ``lmi-diffusion@steps=8@guidance=2``;
        ``@0.25`` is short for ``@edit_from=0.25``. If there is no specification, every registered
        method is taken that can use a shipped model or needs none.
    segmenter : Segmenter
        The segmenter of all translations. Its modality is the target.
    seed : int
        The seed of every method that draws random numbers.
    resources : Resources, optional
        Batch size and device of all methods.

    Raises
    ------
    UsageError
        A specification has none of the three forms, a name or option is unknown, no model suits a
        method, a model has another target, or two methods have one name.
    """
    target = segmenter.modality
    if target is None:
        legal = "a segmenter of one modality, which is then the target"
        raise UsageError(explain("--segmenter", segmenter.name, "knows any modality", legal))
    suited = _suited(target)
    wanted = list(specifications) or suited
    if FLOOR not in wanted:
        wanted = [FLOOR, *wanted]
    # If no shipped model makes the target, methods without weights read its scale from this folder.
    own = [_parsed(one)[1] for one in wanted]
    spare = next((folder for folder in own if folder and not _is_segmenter(folder)), None)
    common = _Common(segmenter, target, suited, spare, seed, resources or Resources())
    found = [_load(one, common) for one in wanted]
    names = [method.name for method in found]
    if repeated := [name for name in names if names.count(name) > 1]:
        legal = "a different name for each method"
        raise UsageError(explain("--methods", repeated[0], "is the name of two methods", legal))
    return found


@dataclass(frozen=True)
class _Common:
    """Settings that all methods of a comparison share."""

    segmenter: Segmenter
    target: str
    suited: Sequence[str]
    spare: str | None
    seed: int
    resources: Resources


def _suited(target: str) -> list[str]:
    """The registered methods that can use a shipped model of the target, or need no model."""
    shipped = [models.peek(name) for name in models.shipped()]
    trained = {
        one["method"] for one in shipped if one["kind"] == "translator" and one["target"] == target
    }
    runs = {name: METHODS.load(name).runs for name in METHODS}
    return [name for name, own in runs.items() if trained and (not own or trained & set(own))]


def _parsed(specification: str) -> tuple[str, str | None, str | None, dict[str, Any]]:
    """Split a specification into its name, model folder, method and options."""
    start, *assignments = specification.split("@")
    options = {}
    for assignment in assignments:
        key, equals, value = assignment.rpartition("=")
        try:
            options[key if equals else _BARE] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(
                explain("--methods", specification, "is malformed", _GRAMMAR)
            ) from None
    name, equals, model = start.partition("=")
    if not equals:
        return specification, None, name, options
    folder, colon, method = model.rpartition(":")
    if not colon or Path(model).is_dir():
        folder, method = model, ""
    if not name or not folder:
        raise UsageError(explain("--methods", specification, "is malformed", _GRAMMAR))
    return name, folder, method or None, options


def _load(specification: str, common: _Common) -> Candidate:
    name, folder, method, options = _parsed(specification)
    target, segmenter = common.target, common.segmenter
    if folder is not None and _is_segmenter(folder):
        own = load_segmenter(folder, common.resources)
        if method or options:
            problem = "is a segmenter, which has no method and no options"
            raise UsageError(explain("--methods", specification, problem, f"{name}={folder}"))
        _check_labels(name, own, segmenter)
        return Candidate(name, Pipeline(segmenter=own))
    if folder is None:
        METHODS.check(str(method), "--methods")
        if method not in common.suited:
            folder = None if METHODS.load(str(method)).runs else common.spare
            if folder is None:
                problem = f"has no shipped model that makes {target}"
                raise UsageError(explain("--methods", method, problem, f"NAME=FOLDER:{method}"))
    given = dict(options)
    chosen = load_translator(folder, method, target, resources=common.resources, **given)
    if getattr(chosen, "draws_noise", False) and "seed" not in given:
        given["seed"] = common.seed
        chosen = load_translator(folder, method, target, resources=common.resources, **given)
    return Candidate(name, Pipeline(chosen, segmenter))


def _is_segmenter(folder: str) -> bool:
    if folder in SEGMENTERS:
        return True
    path = (models.SHIPPED / folder if folder in models.shipped() else Path(folder)) / models.CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))["kind"] == "segmenter"
    except (OSError, ValueError, KeyError, TypeError):  # loading the model reports the error
        return False


def _check_labels(name: str, own: Segmenter, segmenter: Segmenter) -> None:
    """Refuse labels of another meaning, because both are compared with one reference."""
    found, wanted = ({label.value: label.name for label in one.labels} for one in (own, segmenter))
    if found != wanted:
        legal = f"the labels of --segmenter {segmenter.name}: {wanted}"
        raise UsageError(explain("--methods", name, f"segments other structures: {found}", legal))
