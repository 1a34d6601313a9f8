"""The rooms of the package: who may import whom, and who may know what."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import chiasm
from chiasm.registry import METHODS

PACKAGE = Path(chiasm.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
# The doors of the package: what `import chiasm` and `python -m chiasm` run. They lie in no room.
DOORS = {"chiasm", "chiasm.__main__"}
# Code that all methods share; a method must be able to come and go without it.
SHARED = (
    *("models.py", "pipeline.py", "training/settings.py", "training/fit.py"),
    *("training/pretrained.py", "training/objective.py", "training/data_module.py"),
)


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def rooms():
    """The rooms in the order of the table in CONTRIBUTING.md: name → the files it names."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)
    return {name: re.findall(r"`([\w./]+)`", files) for name, files, _ in rows}


def room_of(module):
    return module.split(".")[1]


def imports(tree, *, typing=True, inside=True):
    """Modules of the package that a module imports.

    ``typing`` counts what is imported for annotations alone, and ``inside`` what is imported when
    a function is called.
    """
    found = set()

    def visit(node, within):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing:
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            within = True
        if isinstance(node, ast.Import) and (inside or not within):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (inside or not within):
            assert node.level == 0, "a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in SOURCES else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child, within)

    visit(tree, False)
    return {name for name in found if name == "chiasm" or name.startswith("chiasm.")}


def test_the_table_names_every_room_and_its_files():
    named = rooms()
    there = {room_of(name) for name in SOURCES if name not in DOORS}
    assert set(named) == there
    for room, files in named.items():
        for file in files:
            assert (PACKAGE / file).exists(), (room, file)


def test_no_room_imports_from_a_room_after_it():
    order = list(rooms())
    upwards = [
        f"{name} imports {other}"
        for name, tree in TREES.items()
        if name not in DOORS
        for other in sorted(imports(tree))
        if other != "chiasm" and order.index(room_of(other)) > order.index(room_of(name))
    ]
    assert upwards == []


def test_modules_import_each_other_in_no_circle():
    """Not even where an import waits until a function is called."""
    graph = {
        name: (imports(tree, typing=False) & set(SOURCES)) - {name, "chiasm"}
        for name, tree in TREES.items()
        if name not in DOORS
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_registry_imports_errors_alone():
    assert imports(TREES["chiasm.registry"]) == {"chiasm.errors"}


def called_methods(tree):
    """Names of attributes that are called: ``a.b(c)`` calls ``b``."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}


def test_one_place_translates_and_then_segments():
    steps = {"translate", "segment"}
    both = [name for name, tree in TREES.items() if steps <= called_methods(tree)]
    assert both == ["chiasm.pipeline"]


def settings_of_one_method():
    """Fields of the training settings that one method alone has."""
    objectives = filter(None, (METHODS.load(name).load_objective() for name in METHODS))
    fields = [set(one.settings_class.model_fields) for one in objectives]
    return {name for one in fields for name in one if sum(name in other for other in fields) == 1}


@pytest.mark.parametrize("file", SHARED)
def test_shared_code_names_no_method_and_no_setting_of_one(file):
    """A field of one method's settings would tie all methods to it."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    own = {name for name in METHODS for name in (name, name.replace("-", "_"))}
    own |= {setting for name in METHODS for setting in METHODS.load(name).model_settings}
    own |= settings_of_one_method()
    # A class of settings that several methods share has `guides` and `inference_planes`, a data set
    # may have pairs, and the config of a segmenter has a field `any_contrast` too; `error` is the
    # name of an exception.
    own -= {"none", "paired", "guides", "inference_planes", "any_contrast", "error"}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            names.add(node.arg)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # docstrings are whole texts, which equal no name
        elif isinstance(node, ast.ImportFrom):
            names.update((node.module or "").split("."))
    assert names & own == set()


PACKAGES = [
    name
    for name, path in SOURCES.items()
    if name.startswith("chiasm.methods.") and path.name == "__init__.py"
]


@pytest.mark.parametrize(
    "modules",
    [
        ["chiasm"],
        ["chiasm.cli"],
        ["chiasm.registry"],
        ["chiasm.methods.method"],
        [*PACKAGES, *(METHODS[name].target.split(":")[0] for name in METHODS)],
    ],
    ids=["chiasm", "cli", "registry", "method", "every method"],
)
def test_importing_loads_no_torch(modules):
    """Help and errors must not wait for torch."""
    code = "; ".join(f"import {name}" for name in modules)
    code += "; import sys; print(sorted({'torch', 'monai', 'lightning'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
