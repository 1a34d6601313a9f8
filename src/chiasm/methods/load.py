"""Makes a translator from the name of a method and the name of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chiasm import models
from chiasm.errors import UsageError, explain
from chiasm.image.modality import modality_name
from chiasm.machine.device import Resources, resolve_device
from chiasm.methods.base import Translator
from chiasm.methods.method import Method
from chiasm.registry import DEFAULT_MODEL, METHODS


def load_translator(
    model: str | Path | None = None,
    method: str | None = None,
    to: str | None = None,
    *,
    resources: Resources | None = None,
    **options: Any,
) -> Translator:
    """Make a translator that can be called for many volumes. It reads configs, but no weights.

    Parameters
    ----------
    model : str or Path, optional
        The name of a shipped model, or a model folder. The default is a shipped model that suits
        the method and the target.
    method : str, optional
        A registered method. The default is the method that the model was trained for.
    to : str, optional
        The target modality. The default is the model's own target.
    resources : Resources, optional
        Batch size and device.
    **options
        Options of the method, see its ``Options`` class. None stands for the default.

    Raises
    ------
    UsageError
        A name is unknown, the method does not have an option, a value is illegal, or the method
        cannot run the model.
    CaseError
        The config of the model cannot be read.
    """
    resources = resources or Resources()
    target = None if to is None else modality_name(to, "--to")
    chosen: Method | None = None if method is None else METHODS.load(method, "--method")
    resolve_device(resources.device)
    loaded = models.load(model or _shipped_for(chosen, target), kind="translator")
    if chosen is None:
        chosen = METHODS.load(loaded.config.method)
    given = chosen.check(options)
    if target is not None:
        loaded = loaded.towards(target)
    if chosen.runs and loaded.config.method not in chosen.runs:
        problem = f"was trained for {loaded.config.method}, which {chosen.name} cannot run"
        legal = f"a model that was trained for {' or '.join(chosen.runs)}"
        raise UsageError(explain("--model", loaded.name, problem, legal))
    translator = chosen.load_translator()(loaded, given, resources)
    translator.method = chosen
    return translator


def _shipped_for(method: Method | None, target: str | None) -> str:
    """The default model if it suits; otherwise the first shipped model that does."""
    for name in sorted(models.shipped(), key=lambda one: one != DEFAULT_MODEL):
        config = models.peek(name)
        suits = method is None or not method.runs or config.get("method") in method.runs
        made = (None, config.get("target"), *config.get("targets", {}))
        if config.get("kind") == "translator" and suits and target in made:
            return name
    return DEFAULT_MODEL
