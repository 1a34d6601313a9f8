"""The command ``chiasm``. Each subcommand is one file, with heavy imports inside its function."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from chiasm.cli import (
    compare,
    demo,
    evaluate,
    export,
    info,
    phantom,
    run,
    segment,
    train,
    translate,
)
from chiasm.cli.method_options import with_method_options
from chiasm.errors import ChiasmError, explain
from chiasm.machine import terminal
from chiasm.machine.stop import Stopped

_COMMANDS = (translate, segment, run, evaluate, compare, phantom, train, export, info, demo)
_INTERRUPTED = 130  # the exit code of shells, 128 + SIGINT


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        terminal.say(f"chiasm {version('chiasm')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Translate a scan into the modality that your segmenter knows, and segment the translation."""


def application() -> typer.Typer:
    """The command line with the options of all methods that are registered now."""
    app = typer.Typer(
        name="chiasm",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for module in _COMMANDS:
        command: Any = module.command
        if module in (translate, run):
            command = with_method_options(command)
        app.command(module.__name__.rsplit(".", 1)[-1])(command)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Every error that a user can cause is printed as one line on stderr."""
    terminal.set_up()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        command = typer.main.get_command(application())
        code = command.main(given or ["--help"], prog_name="chiasm", standalone_mode=False) or 0
        sys.stdout.flush()
        if code == _INTERRUPTED:  # newer versions of typer return this code, older ones raise Abort
            code = _fail("interrupted", _INTERRUPTED)
    except ChiasmError as error:
        code = _fail(str(error), error.exit_code)
    except Stopped as error:
        code = _fail("stopped", error.exit_code)
    except BrokenPipeError:  # the reader closed the pipe, as in `chiasm info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:  # for example a full disk
        code = _fail(f"{error}; legal: a disk with enough space, and files open to you", 1)
    except MemoryError:
        code = _fail("the memory is full; legal: a smaller input, or more memory", 1)
    except Exception as error:
        if type(error).__name__ == "Abort":
            code = _fail("interrupted", _INTERRUPTED)
        elif hasattr(error, "format_message"):
            code = _fail(_explained(error), getattr(error, "exit_code", 2))
        else:
            raise
    sys.exit(code)


def _explained(error: Any) -> str:
    """The message of click, with the value that was given and the legal values."""
    message = error.format_message().rstrip(".")
    if hasattr(error.__cause__, "errors"):  # pydantic's error for a value of the wrong type
        value = error.__cause__.errors()[0]["input"]
        return explain(error.param.opts[0], value, "is not legal", error.message)
    if getattr(error, "ctx", None) is None:
        return f"{message}; legal: see --help"
    command = error.ctx.command
    names = getattr(command, "commands", None) or [one.opts[0] for one in command.params]
    return f"{message}; legal: {', '.join(names)}"


def _fail(message: str, code: int) -> int:
    terminal.warn(f"chiasm: {' '.join(message.split())}")
    return code
