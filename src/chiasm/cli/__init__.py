"""The command ``chiasm``: one file for each command, heavy imports inside the functions."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import typer

from chiasm.cli import compare, demo, evaluate, info, phantom, run, segment, train, translate
from chiasm.errors import ChiasmError, explain

_INTERRUPTED = 130  # as shells have it: 128 + SIGINT

app = typer.Typer(
    name="chiasm",
    help="Turn a scan of an unseen modality into the one your segmenter knows, and segment it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (translate, segment, run, evaluate, compare, phantom, train, info, demo):
    app.command(module.__name__.rsplit(".", 1)[-1])(module.command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error a user can cause is one line on stderr."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    command = typer.main.get_command(app)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = command.main(given or ["--help"], prog_name="chiasm", standalone_mode=False) or 0
        sys.stdout.flush()
        if code == _INTERRUPTED:  # newer versions of typer return it, older ones raise Abort
            code = _fail("interrupted", _INTERRUPTED)
    except ChiasmError as error:
        code = _fail(str(error), error.exit_code)
    except BrokenPipeError:  # who reads the output has seen enough, as in `chiasm info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:  # the disk, where no file of the user's could be named
        code = _fail(f"{error}; legal: a disk with enough space, and files open to you", 1)
    except Exception as error:
        if type(error).__name__ == "Abort":
            code = _fail("interrupted", _INTERRUPTED)
        elif hasattr(error, "format_message"):
            code = _fail(_explained(error), getattr(error, "exit_code", 2))
        else:
            raise
    sys.exit(code)


def _explained(error: Any) -> str:
    """What click says about a command line, with the value given and what is legal."""
    message = error.format_message().rstrip(".")
    if hasattr(error.__cause__, "errors"):  # pydantic's, of a value that is of no legal type
        value = error.__cause__.errors()[0]["input"]
        return explain(error.param.opts[0], value, "is not legal", error.message)
    if getattr(error, "ctx", None) is None:
        return f"{message}; legal: see --help"
    command = error.ctx.command
    names = getattr(command, "commands", None) or [one.opts[0] for one in command.params]
    return f"{message}; legal: {', '.join(names)}"


def _fail(message: str, code: int) -> int:
    print(f"chiasm: {' '.join(message.split())}", file=sys.stderr)
    return code
