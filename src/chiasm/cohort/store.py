"""Write result rows as soon as they are finished, so that a comparison can be continued."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chiasm import files
from chiasm.errors import CaseError, explain

ROWS, SETTINGS = "rows.jsonl", "settings.json"
_KEY = ("subject", "session", "pair", "method")


class ResultsStore:
    """The finished rows of an output folder.

    Parameters
    ----------
    folder : Path
        The output folder; created if it does not exist.
    settings : mapping
        The settings that every row depends on, as JSON can hold them.
    methods : mapping
        Name of each method → the settings that its rows depend on. Methods can be added to an
        earlier comparison.
    overwrite : bool
        Whether the rows of an earlier comparison are deleted.

    Raises
    ------
    CaseError
        The rows in the folder were made with other settings or with another method of the same
        name, or the files are damaged.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        methods: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> None:
        self.path = folder / ROWS
        written = folder / SETTINGS
        if overwrite:
            self.path.unlink(missing_ok=True)
            written.unlink(missing_ok=True)
        known = _known_methods(written, settings, methods) if written.exists() else {}
        content = {"settings": dict(settings), "methods": known | dict(methods)}
        files.write_text(written, _text(content), overwrite=True)
        self._rows = {_key(row): row for row in self._read()}

    def get(self, subject: str, session: str, pair: str, method: str) -> dict[str, Any] | None:
        """The row if it is finished, otherwise None."""
        return self._rows.get((subject, session, pair, method))

    def add(self, row: dict[str, Any]) -> None:
        """Store a finished row. It is on the disk when this returns."""
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            problem = f"could not be written ({error.strerror})"
            raise CaseError(explain("-o", self.path, problem, "a disk with enough space")) from None
        self._rows[_key(row)] = row

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        *lines, incomplete = self.path.read_bytes().split(b"\n")
        if incomplete:  # writing was interrupted
            os.truncate(self.path, sum(len(line) + 1 for line in lines))
        try:
            rows = [json.loads(line) for line in lines]
            return [row for row in rows if _key(row)]
        except (ValueError, KeyError, TypeError):
            legal = "an undamaged file, another folder, or --overwrite"
            raise CaseError(explain("-o", self.path, "is damaged", legal)) from None


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[key] for key in _KEY)


def _text(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _known_methods(
    path: Path, settings: Mapping[str, Any], methods: Mapping[str, Any]
) -> dict[str, Any]:
    """The methods in the folder, after a check that settings and methods have not changed."""
    legal = "the same settings, another folder, or --overwrite"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        known: dict[str, Any] = before["methods"]
        old, new = before["settings"], json.loads(_text(dict(settings)))
    except (OSError, ValueError, KeyError, TypeError):
        raise CaseError(explain("-o", path, "is damaged", legal)) from None
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    both = json.loads(_text(dict(methods)))
    changed += [name for name in both if name in known and known[name] != both[name]]
    if changed:
        problem = f"holds a comparison with other settings ({', '.join(changed)})"
        raise CaseError(explain("-o", path.parent, problem, legal))
    return known
