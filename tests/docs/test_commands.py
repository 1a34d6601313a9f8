"""The commands of the tutorials do what they say, on digital brains."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))
# Fenced blocks whose first words are ``sh run``; those of one page are run one after another.
BLOCK = re.compile(r"^```sh run\n(.*?)^```", re.S | re.M)


def commands(page: Path) -> str:
    return "".join(BLOCK.findall(page.read_text(encoding="utf-8")))


def test_every_tutorial_starts_from_a_digital_brain() -> None:
    assert len(TUTORIALS) >= 5
    for page in TUTORIALS:
        assert commands(page).startswith("chiasm phantom "), page.name


@pytest.mark.long
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_commands_of_a_tutorial_run(page: Path, tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    chiasm = bin_folder / "chiasm"
    chiasm.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m chiasm "$@"\n')
    chiasm.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", commands(page)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
