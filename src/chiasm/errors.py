"""The two ways a request can fail, each told in one line."""

from __future__ import annotations

from typing import Any


class ChiasmError(ValueError):
    """Base of every error a user can cause; its message is one line without a traceback."""

    exit_code = 1


class CaseError(ChiasmError):
    """One case cannot be read or processed; the other cases are still done (exit code 1)."""

    exit_code = 1


class UsageError(ChiasmError):
    """A command, option, model name or value is not legal; nothing was read (exit code 2)."""

    exit_code = 2


def explain(argument: str, value: Any, problem: str, legal: str) -> str:
    """The one line every error is: the argument, its value, what is wrong, what is legal.

    >>> explain("--steps", 0, "is not a number of steps", "an integer of at least 1")
    '--steps 0: is not a number of steps; legal: an integer of at least 1'
    """
    return f"{argument} {value}: {problem}; legal: {legal}".replace("\n", " ")
