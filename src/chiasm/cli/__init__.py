"""The command ``chiasm``: one file for each command, heavy imports inside the functions."""

from __future__ import annotations

import logging
import sys

import typer

from chiasm.cli import demo, evaluate, info, phantom, run, segment, train, translate
from chiasm.errors import ChiasmError

app = typer.Typer(
    name="chiasm",
    help="Turn a scan of an unseen modality into the one your segmenter knows, and segment it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (translate, segment, run, evaluate, phantom, train, info, demo):
    app.command(module.__name__.rsplit(".", 1)[-1])(module.command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error a user can cause is one line on stderr."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="chiasm", standalone_mode=False) or 0
    except ChiasmError as error:
        code = _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    except Exception as error:
        # click's and typer's own errors: what they say, without the box around it.
        if not hasattr(error, "format_message"):
            if type(error).__name__ == "Abort":
                code = _fail("interrupted", 130)
            else:
                raise
        else:
            code = _fail(error.format_message() or "", getattr(error, "exit_code", 2))
    sys.stdout.flush()
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    if message:
        print(f"chiasm: {' '.join(message.split())}", file=sys.stderr)
    return code
