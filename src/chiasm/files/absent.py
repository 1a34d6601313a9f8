"""Files whose content is not on this computer, as in datasets of git-annex and datalad."""

from __future__ import annotations

from pathlib import Path

from chiasm.errors import CaseError, explain

# Text that replaces the content if a file system has no links, or in Git LFS.
_POINTERS = (b"/annex/objects/", b"version https://git-lfs")
_LARGEST_POINTER = 1024  # bytes; a NIfTI file holds more in its header alone


def absent_content(path: Path, argument: str = "-i") -> CaseError | None:
    """The error to report if a file's content is not on this computer, otherwise None.

    The content is absent if the path is a broken link, or if the file is a short text in place of
    the content (git-annex in unlocked mode, Git LFS).

    Parameters
    ----------
    path : Path
        A file, a link or a path that does not exist.
    argument : str
        The argument that named the path; the error begins with it.
    """
    try:
        size = path.stat().st_size
    except OSError:
        if not path.is_symlink():
            return None
        problem = "is a link whose content is absent"
        return CaseError(explain(argument, path, problem, _legal(path)))
    if not 0 < size < _LARGEST_POINTER or not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(max(map(len, _POINTERS)))
    if not start.startswith(_POINTERS):
        return None
    problem = "is a placeholder for a file whose content is absent"
    return CaseError(explain(argument, path, problem, _legal(path)))


def _legal(path: Path) -> str:
    return f"a file with its content (in a datalad dataset, `datalad get {path}` fetches it)"
