"""The two kinds of errors that a user can cause. Each message is one line."""

from __future__ import annotations

from typing import Any


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
