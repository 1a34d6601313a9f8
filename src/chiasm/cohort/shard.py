"""A share of the cases, so that several machines or jobs can divide a cohort."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chiasm.errors import UsageError, explain

_Case = TypeVar("_Case")


@dataclass(frozen=True)
class Shard:
    """Share number ``number`` of ``count``, from 1. The shares are disjoint."""

    number: int = 1
    count: int = 1

    def of(self, cases: Sequence[_Case]) -> list[_Case]:
        """Every ``count``-th case, so that all shares have about as many."""
        return list(cases[self.number - 1 :: self.count])

    def named(self, path: Path) -> Path:
        """A file of this share alone: ``report.json`` becomes ``report_shard-2of8.json``."""
        if self.count == 1:
            return path
        return path.with_name(f"{path.stem}_shard-{self.number}of{self.count}{path.suffix}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard_of(words: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The share that an option names, or that of this job of a SLURM array, or everything.

    Parameters
    ----------
    words : str or None
        Such as ``"2/8"``. With None, SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT are used if
        they are set.
    environment : mapping
        The environment variables.

    Raises
    ------
    UsageError
        The words are no share, or the number of the share is not from 1 to their count.
    """
    legal = "NUMBER/COUNT such as 2/8, with a number from 1 to the count"
    argument = "--shard"
    if words is None:
        task = environment.get("SLURM_ARRAY_TASK_ID")
        count = environment.get("SLURM_ARRAY_TASK_COUNT")
        if not task or not count:
            return Shard()
        argument = "SLURM_ARRAY_TASK_ID"
        words = f"{task}/{count}"
        least = environment.get("SLURM_ARRAY_TASK_MIN", "0")
        if task.isdigit() and least.isdigit():
            words = f"{int(task) - int(least) + 1}/{count}"
        legal = "an array of consecutive tasks, or --shard NUMBER/COUNT"
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", words)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(explain(argument, words, "is not a share", legal))
    return Shard(int(found[1]), int(found[2]))
