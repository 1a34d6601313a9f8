"""The role ``result``: a measured figure, read from benchmarks/results/*.json at build time."""

from __future__ import annotations

from typing import Any

from docutils import nodes

import results


def _result(name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any) -> Any:
    try:
        return [nodes.Text(results.figure(text))], []
    except (LookupError, ValueError, OSError) as error:
        message = inliner.reporter.error(f"no result {text!r}: {error}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]


def setup(app: Any) -> dict[str, bool]:
    app.add_role("result", _result)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
