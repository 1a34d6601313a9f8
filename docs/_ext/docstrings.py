"""Take the package's docstrings as plain text where reStructuredText would read markup."""

from __future__ import annotations

import re
from typing import Any

_LITERAL = re.compile(r"(``.*?``|`[^`]+`)")
# A star before a word that no star follows, as in (B, *spatial).
_STAR = re.compile(r"(?<![\\\\*\w])\*(?=\w)(?!\w[^*]*\w?\*)")


def plain(line: str) -> str:
    """Bars and single stars are characters and no markup, unless they are in a literal."""
    parts = _LITERAL.split(line)
    parts[::2] = [_STAR.sub(r"\\*", part.replace("|", r"\|")) for part in parts[::2]]
    # A literal must end at a space or at punctuation, which a backslash and a space stand for.
    after = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]
    return "".join([parts[0], *(x for pair in zip(parts[1::2], after, strict=True) for x in pair)])


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if name.startswith("chiasm"):
        lines[:] = [plain(line) for line in lines]


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a module has only imported from another library."""
    home = getattr(obj, "__module__", None)
    if isinstance(obj, type) and isinstance(home, str) and not home.startswith("chiasm"):
        return True
    return None


def setup(app: Any) -> dict[str, bool]:
    # Before numpydoc, which turns sections into reStructuredText.
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
