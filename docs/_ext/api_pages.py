"""Write one API page for each room of the package; the modules are found, never named."""

from __future__ import annotations

import pkgutil
import shutil
from collections import defaultdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import chiasm


def modules() -> dict[str, list[str]]:
    """Public modules by the room (the first name below ``chiasm``) that they are in."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for found in pkgutil.walk_packages(chiasm.__path__, "chiasm."):
        names = found.name.split(".")
        if not any(name.startswith("_") for name in names) and _can_be_imported(found.name):
            rooms[names[1]].append(found.name)
    return dict(sorted(rooms.items()))


def _can_be_imported(module: str) -> bool:
    """False where a package is missing that this platform does not have (Triton needs Linux)."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("chiasm"):
            raise
        print(f"the API pages leave out {module}: {error.name} is not installed")
        return False
    return True


def _title(module: str) -> str:
    """The first line of the module's docstring, without importing the module."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    for line in Path(spec.origin).read_text(encoding="utf-8").splitlines():
        if line.startswith('"""'):
            return line.strip('"').strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""


def _documented(kind: str, name: str) -> str:
    return f"```{{eval-rst}}\n.. {kind}:: {name}\n```\n"


def _public() -> str:
    """The functions and classes of ``import chiasm``, in the order of its ``__all__``."""
    parts = []
    for name in chiasm.__all__:
        is_class = isinstance(getattr(chiasm, name), type)
        parts.append(_documented("autoclass" if is_class else "autofunction", f"chiasm.{name}"))
    return "\n".join(parts)


def write(folder: Path) -> None:
    """Write the pages anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rooms = modules()
    for room, names in rooms.items():
        lines = [f"# chiasm.{room}\n"]
        for name in names:
            if len(names) > 1:
                lines.append(f"## {name}\n")
            lines.append(_documented("automodule", name))
        (folder / f"{room}.md").write_text("\n".join(lines), encoding="utf-8")
    about = "\n".join(
        f"- [`chiasm.{room}`]({room}.md): {_title(f'chiasm.{room}')}" for room in rooms
    )
    (folder / "index.md").write_text(
        _INDEX.format(public=_public(), about=about, rooms="\n".join(rooms)), encoding="utf-8"
    )


_INDEX = """# API

`import chiasm` offers the functions and classes of this page. The pages below document every public
module of the package.

{about}

```{{toctree}}
:hidden:

{rooms}
```

## The functions of `import chiasm`

{public}
"""
