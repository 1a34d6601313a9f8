"""The methods of a comparison, by the names that a user gives them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chiasm import api, models
from chiasm.errors import UsageError, explain
from chiasm.registry import TRANSLATORS
from chiasm.segmenters import Segmenter
from chiasm.translators import Translator

_log = logging.getLogger("chiasm")
FLOOR = "none"
_GRAMMAR = "METHOD, NAME=FOLDER or NAME=FOLDER:METHOD, each with @option=value after it"
_TRANSLATOR = "model"  # the option that names the translator of a segmenter of two images
_BARE = "edit_from"  # what a value without a name means: sdedit@0.25


@dataclass(frozen=True)
class Method:
    """A translator, or a segmenter that needs no translation, under the name its rows have.

    ``own`` segments what the translator makes, where the method has a segmenter of its own: one
    that sees the scan beside the translation.
    """

    name: str
    model: Translator | Segmenter
    own: Segmenter | None = None

    @property
    def parts(self) -> tuple[Translator | Segmenter, ...]:
        """All that has weights."""
        return (self.model,) if self.own is None else (self.model, self.own)

    def knows(self, source: str | None) -> bool:
        """Whether its network takes images of this modality: it may have learned some alone."""
        learned = isinstance(self.model, Translator) and bool(self.model.runs)
        known = self.model.model.config.sources if learned else []
        return not known or source in known

    @property
    def device(self) -> str:
        """Where it runs."""
        if isinstance(self.model, Translator):
            return self.model.options.device
        return self.model.device

    @property
    def trained_on(self) -> str:
        """Modalities, subjects and iterations that its weights have seen, in words."""
        if isinstance(self.model, Translator) and not self.model.runs:
            return "nothing"
        # Of both networks, that whose training the method adds.
        config = (self.own or self.model).model.config
        facts, settings = config.training, config.training.get("settings", {})
        words = [" and ".join([config.target, *settings.get("sources", [])])]
        if (count := facts.get("subjects", {}).get("train")) is not None:
            words.append(f"{count} subjects")
        if "iterations" in settings:
            words.append(f"{settings['iterations']} iterations")
        return ", ".join(words)

    def identity(self) -> dict[str, Any]:
        """What rows of this method depend on: equal ones give equal rows."""
        model = self.model.model
        options: dict[str, Any] = {}
        if isinstance(self.model, Translator):
            chosen = self.model.options.model_dump(exclude_none=True)
            options = {key: chosen[key] for key in chosen if key not in ("batch", "device")}
        if self.own is not None:
            options["segmenter"] = fingerprint(self.own.model)
        return {"class": type(self.model).__name__, "model": fingerprint(model), **options}


def looks_at_neighbours(part: Translator | Segmenter) -> bool:
    """Whether it sees more of a volume than one slice at a time."""
    return part.model.config.context.kind != "2d"


def fingerprint(model: models.Model) -> str:
    """A model's name, and the start of a hash of its config and weights."""
    digest = hashlib.sha256()
    for part in (models.CONFIG, models.WEIGHTS):
        path = model.folder / part
        digest.update(path.read_bytes() if path.is_file() else b"")
    return f"{model.name} {digest.hexdigest()[:16]}"


def load_methods(
    specifications: Sequence[str],
    segmenter: Segmenter,
    *,
    seed: int = 0,
    batch: int = 8,
    device: str = "auto",
    apart: bool = False,
) -> list[Method]:
    """The methods that specifications name; the floor, ``none``, is always among them.

    Parameters
    ----------
    specifications : sequence of str
        Each ``METHOD`` (a registered translator, run with the shipped model that suits),
        ``NAME=FOLDER`` (a model of one's own: a translator, or a segmenter that is judged on the
        source as it is) or ``NAME=FOLDER:METHOD``. A segmenter that sees a scan beside its
        translation is given that of the default model, or of the one that ``@model=FOLDER`` names.
        Options of `chiasm.translators.RunOptions` may follow: ``lmi-diffusion@steps=8@guidance=2``;
        ``@0.25`` is short for ``@edit_from=0.25``.
        Empty: every registered translator that a shipped model suits.
    segmenter : Segmenter
        What translations are judged by: its modality is the target.
    seed, batch, device
        Of all, as in `chiasm.translators.RunOptions`.
    apart : bool
        Slices will be translated without their neighbours: where nothing is specified, no method
        is taken that looks at those.

    Raises
    ------
    UsageError
        A specification that is none, an unknown name or option, a method without a model that
        suits, a model of another target, or two methods of one name.
    """
    suited = _suited(segmenter.model.config.target)
    wanted = list(specifications) or suited
    if FLOOR not in wanted:
        wanted = [FLOOR, *wanted]
    common = {"seed": seed, "batch": batch, "device": device}
    # Where no shipped model makes the target, methods that learn nothing take its scale from here.
    own = [_parsed(one)[1] for one in wanted]
    spare = next((folder for folder in own if folder and not _is_segmenter(folder)), None)
    found = [_load(one, segmenter, suited, spare, common) for one in wanted]
    if apart and not specifications:
        whole = [one for one in found if any(map(looks_at_neighbours, one.parts))]
        for one in whole:
            _log.warning("chiasm: left out %s, which looks at a slice's neighbours", one.name)
        found = [one for one in found if one not in whole]
    names = [method.name for method in found]
    if repeated := [name for name in names if names.count(name) > 1]:
        legal = "another name for each"
        raise UsageError(explain("--methods", repeated[0], "names two methods", legal))
    return found


def _suited(target: str) -> list[str]:
    """The registered translators that some shipped model of the target suits."""
    shipped = [models.peek(name) for name in models.shipped()]
    methods = {
        one["method"] for one in shipped if one["kind"] == "translator" and one["target"] == target
    }
    suited = []
    for name in TRANSLATORS:
        runs = TRANSLATORS.load(name).runs
        if methods and (not runs or methods & set(runs)):
            suited.append(name)
    return suited


def _parsed(specification: str) -> tuple[str, str | None, str | None, dict[str, Any]]:
    """Its name, its model's folder, its method and its options."""
    head, *assignments = specification.split("@")
    options = {}
    for assignment in assignments:
        key, equals, value = assignment.rpartition("=")
        try:
            options[key if equals else _BARE] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(explain("--methods", specification, "is not one", _GRAMMAR)) from None
    name, equals, model = head.partition("=")
    if not equals:
        return specification, None, name, options
    folder, colon, method = model.rpartition(":")
    if not colon or Path(model).is_dir():
        folder, method = model, ""
    if not name or not folder:
        raise UsageError(explain("--methods", specification, "is not one", _GRAMMAR))
    return name, folder, method or None, options


def _load(
    specification: str,
    segmenter: Segmenter,
    suited: Sequence[str],
    spare: str | None,
    common: dict[str, Any],
) -> Method:
    name, folder, method, options = _parsed(specification)
    target = segmenter.model.config.target
    if folder is not None and _is_segmenter(folder):
        own = api.load_segmenter(folder, batch=common["batch"], device=common["device"])
        if method or (options and not own.needs_source):
            problem = "is a segmenter, which has no method and no options"
            raise UsageError(explain("--methods", specification, problem, f"{name}={folder}"))
        _check_labels(name, own, segmenter)
        if not own.needs_source:
            return Method(name, own)
        made_by = options.pop(_TRANSLATOR, None)
        beside = api.load_translator(made_by, to=target, **common | options)
        api.check_pair(beside, own)
        return Method(name, beside, own)
    if folder is None:
        TRANSLATORS.check(str(method), "--methods")
        if method not in suited:
            folder = None if TRANSLATORS.load(str(method)).runs else spare
            if folder is None:
                problem = f"has no shipped model that makes {target}"
                raise UsageError(explain("--methods", method, problem, f"NAME=FOLDER:{method}"))
    translator = api.load_translator(folder, method, target, **common | options)
    api.check_pair(translator, segmenter)
    return Method(name, translator)


def _is_segmenter(folder: str) -> bool:
    path = (models.SHIPPED / folder if folder in models.shipped() else Path(folder)) / models.CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))["kind"] == "segmenter"
    except (OSError, ValueError, KeyError, TypeError):  # loading it says what is wrong
        return False


def _check_labels(name: str, own: Segmenter, segmenter: Segmenter) -> None:
    """Labels of one meaning, so that both can be compared with one reference."""
    found, wanted = (
        {label.value: label.name for label in one.model.config.labels} for one in (own, segmenter)
    )
    if found != wanted:
        legal = f"the labels of --segmenter {segmenter.model.name}: {wanted}"
        raise UsageError(explain("--methods", name, f"finds other structures: {found}", legal))
