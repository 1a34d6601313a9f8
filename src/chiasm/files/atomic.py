"""Write complete files or none: all are written under a temporary name and then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chiasm.errors import CaseError, explain

_ROOM = "a folder that can be written to, with enough space"


def check_output(
    path: str | Path,
    overwrite: bool = False,
    *,
    suffixes: tuple[str, ...] | None = None,
    argument: str = "-o",
) -> Path:
    """Refuse an output that cannot be written, before any work is done for it.

    Parameters
    ----------
    path : str or Path
        The file to be written. Its folder need not exist yet.
    overwrite : bool
        Whether the file may exist already.
    suffixes : tuple of str, optional
        The legal endings, such as `chiasm.files.endings` for an image. None allows any.
    argument : str
        The argument that named the path; the error begins with it.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    CaseError
        The path exists and ``overwrite`` is False, it is a folder, its ending is not legal, or
        its folder is not writable.
    """
    path = Path(path)
    if path.is_dir():
        raise CaseError(explain(argument, path, "is a folder", "the name of a file"))
    if suffixes and not path.name.lower().endswith(suffixes):
        legal = f"a name that ends with {', '.join(suffixes)}"
        raise CaseError(explain(argument, path, "has an unknown ending", legal))
    if os.path.lexists(path) and not overwrite:  # true for a broken link too
        raise CaseError(explain(argument, path, "exists", "another name, or --overwrite"))
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CaseError(explain(argument, path, f"cannot be written into {folder}", _ROOM))
    return path


def _prefix(path: Path) -> str:
    """How the names of all drafts of a file or a folder begin."""
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:10]}-"


def _draft(path: Path, ending: str = "") -> Path:
    return path.with_name(f"{_prefix(path)}{uuid.uuid4().hex[:8]}{ending}")


def remove_drafts(path: str | Path) -> None:
    """Remove the drafts of a file or a folder that a killed process left behind."""
    path = Path(path)
    for draft in path.parent.glob(f"{_prefix(path)}*"):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


@contextmanager
def atomic(path: str | Path, *, argument: str = "-o") -> Iterator[Path]:
    """Give a temporary path to write to. On success it is renamed to ``path``, else removed.

    The temporary file lies in the same folder, which is created, and has the same ending, so that
    libraries can choose the format by it. It is flushed to the disk before it is renamed, so that
    a crash leaves either the old file or the new one.

    Raises
    ------
    CaseError
        The file cannot be written, for example because the disk is full. No file is left behind.
    """
    path = Path(path)
    ending = "".join(path.suffixes[-2:])
    draft = _draft(path, ending)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        problem = f"could not be written ({error.strerror or error})"
        raise CaseError(explain(argument, path, problem, _ROOM)) from error
    finally:
        draft.unlink(missing_ok=True)


def check_folder(
    folder: str | Path, overwrite: bool = False, *, ending: str, argument: str = "-o"
) -> Path:
    """Refuse an output folder that cannot be written, before any work is done for it.

    Parameters
    ----------
    folder : str or Path
        The folder to be written. The folder above it need not exist yet.
    overwrite : bool
        Whether the folder may exist already. It may then hold only files with this ending.
    ending : str
        The ending of the files that are written.
    argument : str
        The argument that named the folder; the error begins with it.

    Raises
    ------
    CaseError
        The folder exists and ``overwrite`` is False, it is a file, it holds other files, or it
        cannot be created.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return check_output(folder, False, argument=argument)
    if not overwrite:
        raise CaseError(explain(argument, folder, "exists", "another name, or --overwrite"))
    others = sorted(one.name for one in folder.iterdir() if not one.name.endswith(ending))
    if others:
        problem = f"holds other files ({others[0]})"
        raise CaseError(explain(argument, folder, problem, "a folder that can be replaced"))
    return folder


@contextmanager
def atomic_folder(folder: str | Path, *, argument: str = "-o") -> Iterator[Path]:
    """Give a temporary folder to write to. On success it takes the place of ``folder``.

    An earlier folder of this name is removed after the new one is complete.

    Raises
    ------
    CaseError
        The files cannot be written, for example because the disk is full. Nothing is left behind.
    """
    folder = Path(folder)
    draft, old = _draft(folder), _draft(folder)
    try:
        draft.mkdir(parents=True)
        yield draft
        for path in filter(Path.is_file, draft.rglob("*")):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        if folder.exists():
            os.replace(folder, old)
        os.replace(draft, folder)
    except OSError as error:
        problem = f"could not be written ({error.strerror or error})"
        raise CaseError(explain(argument, folder, problem, _ROOM)) from error
    finally:
        for one in (draft, old):
            shutil.rmtree(one, ignore_errors=True)


def write_text(
    path: str | Path, text: str, *, overwrite: bool = False, argument: str = "-o"
) -> Path:
    """Write UTF-8 text completely or not at all, and return the path.

    Characters that UTF-8 cannot hold, such as bytes of a file name in another encoding, are
    written as escapes like ``\\udce9``, which JSON reads back.

    Raises
    ------
    CaseError
        As in `check_output` and `atomic`.
    """
    path = check_output(path, overwrite, argument=argument)
    with atomic(path, argument=argument) as draft:
        draft.write_bytes(text.encode(errors="backslashreplace"))
    return path
