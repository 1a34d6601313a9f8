"""The report of a run, as JSON or as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chiasm import files
from chiasm.page.words import in_words

PAGE_ENDINGS = (".html", ".htm")
_ARGUMENT = "--report"


def write_report(content: Mapping[str, Any], path: Path, *, overwrite: bool) -> None:
    """Write the report of a run: a page if the name ends with .html, otherwise JSON.

    Parameters
    ----------
    content : mapping
        As `chiasm.cohort.run.run_tasks` makes it.
    path : Path
    overwrite : bool

    Raises
    ------
    CaseError
        The file exists and may not be replaced, or cannot be written.
    """
    if path.suffix.lower() not in PAGE_ENDINGS:
        text = json.dumps(content, indent=2, default=_plain) + "\n"
        files.write_text(path, text, overwrite=overwrite, argument=_ARGUMENT)
        return
    from chiasm.page import write_page

    failed = list(content["failed"])
    finished = sum("error" not in case for case in content["cases"])
    lead = f"{finished} of {finished + len(failed)} scans are finished."
    if not content["finished"]:
        lead += " The run was stopped before its end."
    tables: dict[str, Sequence[Mapping[str, Any]]] = {}
    if content["cases"]:
        tables["Scans"] = [_line(case) for case in content["cases"]]
    if failed:
        tables["What failed"] = [{"Message": message} for message in failed]
    if content["left_out"]:
        tables["What was left out"] = [{"Sentence": one} for one in content["left_out"]]
    settings = {
        "Chiasm": content["chiasm"],
        "versions": content["versions"],
        "command": " ".join(["chiasm", *content["command"]]),
        "seconds": content["seconds"],
        **content["settings"],
    }
    write_page(
        path,
        "Report",
        lead=lead,
        rows=[],
        tables=tables,
        settings={name.replace("_", " "): value for name, value in settings.items()},
        overwrite=overwrite,
    )


def _line(case: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of scans."""
    outcome = "finished before" if "skipped" in case else "finished"
    if "error" in case:
        outcome = "failed"
    steps = [case[name] for name in ("translation", "segmentation") if case.get(name)]
    return {
        "Scan": case["input"],
        "Outcome": outcome,
        "Modality": case.get("modality") or "",
        "Seconds": f"{sum(one['cost']['seconds'] for one in steps):.1f}" if steps else "",
        "Device": ", ".join(dict.fromkeys(str(one.get("device", "")) for one in steps)),
        "Warnings": " ".join(case.get("warnings", ())),
        "Outputs": in_words(case.get("outputs", [])),
    }


def _plain(value: Any) -> Any:
    """A value of a record that JSON does not know: NumPy's as numbers, any other as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
