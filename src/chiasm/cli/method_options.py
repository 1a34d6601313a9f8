"""The options of all methods as command-line flags, made from the methods' own classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from chiasm.methods.method import flag
from chiasm.registry import METHODS, load_plugins


def all_options() -> dict[str, tuple[Any, str, list[str]]]:
    """Option name → type, help text, and the methods that have the option. Imports no torch."""
    found: dict[str, tuple[Any, str, list[str]]] = {}
    for name in METHODS:
        for key, one in METHODS.load(name).options.model_fields.items():
            if key not in found:
                found[key] = _type_of(one.annotation), one.description or "", []
            found[key][2].append(name)
    return found


def _type_of(annotation: Any) -> Any:
    """The type that the command line parses. Names are parsed as text and checked by the method."""
    parts = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) in (Union, UnionType):
        return _type_of(parts[0])
    return str if get_origin(annotation) is Literal else annotation


def with_method_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of all methods to a command, which receives them as ``options``."""
    load_plugins()
    known = all_options()
    signature = inspect.signature(command, eval_str=True)
    own = {key: one for key, one in signature.parameters.items() if key != "options"}
    more = {
        key: inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, _option(key, kind, about, methods)],
        )
        for key, (kind, about, methods) in known.items()
    }

    @wraps(command)
    def wrapped(**given: Any) -> int:
        options = {key: given.pop(key) for key in known}
        return command(**given, options=options)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (own | more).values()]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    del wrapped.__wrapped__  # type: ignore[attr-defined]
    return wrapped


def _option(key: str, kind: Any, about: str, methods: list[str]) -> Any:
    names = [flag(key), flag(f"no_{key}")] if kind is bool else [flag(key)]
    every = len(methods) == sum(bool(METHODS.load(one).options.model_fields) for one in METHODS)
    where = "" if every else f" Methods: {', '.join(methods)}."
    return typer.Option("/".join(names), help=about + where, show_default=_default(key, methods))


def _default(key: str, methods: list[str]) -> str:
    """The default of an option; where methods have different ones, each with its methods.

    None stands for the model's own value, unless a field names its default as ``shown_default``.
    """
    defaults: dict[str, list[str]] = {}
    for name in methods:
        one = METHODS.load(name).options.model_fields[key]
        extra = one.json_schema_extra
        named = extra.get("shown_default") if isinstance(extra, dict) else None
        shown = one.default if named is None else named
        defaults.setdefault("the model's" if shown is None else str(shown), []).append(name)
    if len(defaults) == 1:
        return next(iter(defaults))
    return "; ".join(f"{shown} ({', '.join(own)})" for shown, own in defaults.items())
