"""A BIDS folder of digital brains."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from chiasm import files
from chiasm.errors import UsageError, explain
from chiasm.phantom.person import Settings, subject

# What a column's name ends with → (what it is, its units where it has any).
_COLUMNS = {
    "seed": ("Seed of this person alone", None),
}


def subject_seed(seed: int, number: int) -> int:
    """The seed of a dataset's subject ``number`` (from 1): no two datasets or subjects share one."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0])
