"""Text output to a terminal that may not support all characters."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


def say(text: str, file: TextIO | None = None, end: str = "\n") -> None:
    """Print text; characters that the stream cannot encode are printed as escape sequences.

    A file name may contain bytes that are not UTF-8, and a terminal may support ASCII only
    (``PYTHONIOENCODING=ascii``). Neither may stop a batch of scans.

    Parameters
    ----------
    text : str
    file : text stream, optional
        Standard output by default.
    end : str
        Printed after the text.
    """
    stream = sys.stdout if file is None else file
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)


def warn(text: str) -> None:
    """Print text on standard error, as `say` does."""
    say(text, sys.stderr)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes log records with `say` to the standard error of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self.format(record), sys.stderr)
        except Exception:
            self.handleError(record)


def set_up(level: int = logging.WARNING) -> None:
    """Make log records and the output of libraries escape characters that cannot be printed."""
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=level)
    # They tell what they repair in a damaged header. Chiasm refuses what cannot be used.
    for name in ("nibabel.global", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
