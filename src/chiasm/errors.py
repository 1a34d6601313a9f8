"""The two kinds of errors that a user can cause. Each message is one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args


class ChiasmError(ValueError):
    """Base of every error that a user can cause. Its message is one line without a traceback."""

    exit_code = 1


class CaseError(ChiasmError):
    """One case cannot be read or processed. The other cases are still done (exit code 1)."""

    exit_code = 1


class UsageError(ChiasmError):
    """A command, option, model name or value is not legal. Nothing was read (exit code 2)."""

    exit_code = 2


def explain(argument: str, value: Any, problem: str, legal: str) -> str:
    """The message of an error in one line: argument, value, what is wrong, and what is legal.

    >>> explain("--steps", 0, "is not a number of steps", "an integer of at least 1")
    '--steps 0: is not a number of steps; legal: an integer of at least 1'
    """
    named = f"{argument} {value}".rstrip()  # an argument without a value ends without a space
    return f"{named}: {problem}; legal: {legal}".replace("\n", " ")


def illegal_setting(found: Mapping[str, Any], settings: type) -> tuple[str, str]:
    """What is wrong with a setting, and what is legal.

    Parameters
    ----------
    found : mapping
        One error of pydantic, with ``type``, ``msg`` and ``loc``.
    settings : type
        The pydantic model that was validated.
    """
    if found["type"] == "extra_forbidden":
        part: Any = settings
        for key in found["loc"][:-1]:
            part = (
                _settings_in(part.model_fields[key].annotation)
                if hasattr(part, "model_fields")
                else None
            )
        names = getattr(part, "model_fields", None) or ("none of this name",)
        return "is not a setting", f"the settings are {', '.join(names)}"
    message = found["msg"].removeprefix("Value error, ")
    problem, _, legal = message.partition("; legal: ")
    if legal:
        return problem, legal
    if found["type"] == "missing":
        return "is missing", "a value"
    return "is not legal", message.removeprefix("Input should be ")


def _settings_in(annotation: Any) -> Any:
    """The class of settings that an annotation such as ``Settings | None`` names."""
    every = (annotation, *get_args(annotation))
    return next((one for one in every if hasattr(one, "model_fields")), None)
