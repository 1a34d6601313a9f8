"""The options of the methods: a foreign one is refused, and the help tells each in a sentence."""

import json
import re
import subprocess
import sys

import pytest
from command_samples import files_below

from chiasm import registry
from chiasm.cli.method_options import all_options
from chiasm.methods.method import flag
from chiasm.methods.options import Options

COMMANDS = (
    "translate", "segment", "run", "evaluate", "compare", "phantom", "train", "export",
    "info", "demo",
)  # fmt: skip
# A legal value of every option of every method.
VALUES = {
    "detail": True, "planes": "coronal", "samples": 2, "seed": 3, "steps": 2, "scheduler": "ddim",
    "noise": "shared", "guidance": 0.5, "strength": 0.1, "edit_from": 0.25, "iterations": 2,
    "start": "noise", "estimate": "brain-t1",
}  # fmt: skip
FOREIGN = [
    (method, option)
    for method in registry.METHODS
    for option in all_options()
    if option not in registry.METHODS.load(method).options.model_fields
]


def words_of(option):
    value = VALUES[option]
    return (flag(option),) if value is True else (flag(option), value)


def test_every_option_has_a_value_here():
    assert set(VALUES) == set(all_options())


@pytest.mark.parametrize("command", ["translate", "run"])
@pytest.mark.parametrize(("method", "option"), FOREIGN)
def test_an_option_that_the_method_lacks_is_refused(
    chiasm, command, method, option, scan, out, opened, models_of
):
    model, segmenter = models_of(method)
    words = ("-i", scan, "-o", out, "--model", model, "--method", method, *words_of(option))
    more = ("--segmenter", segmenter) if command == "run" else ()
    opened.clear()
    result = chiasm(command, *words, *more)
    assert result.code == 2
    own = registry.METHODS.load(method).options.model_fields
    result.assert_said(f"{flag(option)}", f"the method {method}", *map(flag, own))
    legal = result.err.split("; legal: ")[1].strip()
    assert legal == (", ".join(map(flag, own)) or "no method option")
    assert not out.exists()
    assert [path for path in opened if scan.parent in path.parents] == []


@pytest.fixture
def models_of(regression, diffusion, paired, segmenter):
    """A translator that a method may be given, and a segmenter; no weights are read."""
    suitable = {"paired": paired, "regression": regression}
    diffusions = dict.fromkeys(("lmi-diffusion", "loss-guidance", "sdedit"), diffusion)
    return lambda method: ((suitable | diffusions).get(method, regression), segmenter)


@pytest.mark.parametrize("method", ["none", "histogram"])
def test_a_method_without_a_network_has_no_option(chiasm, method):
    assert registry.METHODS.load(method).options is Options
    listed = json.loads(chiasm("info", "--json").out)
    assert listed["method options"][method] == "none"


def test_a_seed_that_changes_nothing_is_refused(chiasm, scan, out, regression):
    given = ("translate", "-i", scan, "-o", out, "--model", regression, "--seed", 3)
    refused = chiasm(*given)
    assert refused.code == 2
    refused.assert_said("--seed 3", "changes nothing", "--samples of at least 2")
    assert not out.exists()
    assert chiasm(*given, "--samples", 2).code == 0


def test_an_option_of_a_method_in_compare_is_refused_alike(chiasm, tmp_path, out):
    result = chiasm("compare", "-i", tmp_path, "-o", out, "--methods", "sdedit@iterations=2")
    assert result.code == 2
    result.assert_said("--iterations 2", "the method sdedit", "--edit-from")


def test_the_version(chiasm):
    from importlib.metadata import version

    result = chiasm("--version")
    assert (result.code, result.out, result.err) == (0, f"chiasm {version('chiasm')}\n", "")


def described():
    """Every text of the help: (command, option or '', text)."""
    import typer

    from chiasm.cli import application

    root = typer.main.get_command(application())
    found = [("chiasm", "", root.help)]
    for name, command in root.commands.items():
        found.append((name, "", command.help))
        found += [(name, one.name, getattr(one, "help", None)) for one in command.params]
    found += [("chiasm", one.name, one.help) for one in root.params]
    return found


@pytest.mark.parametrize(("command", "option", "text"), described())
def test_every_help_text_is_made_of_whole_sentences(command, option, text):
    assert text, f"{command} {option} has no help"
    plain = " ".join(text.split())
    # What is said last may be the methods that have an option: "Methods: a, b."
    for sentence in re.split(r"(?<=\.) (?=[A-Z`])", plain):
        assert sentence.endswith("."), sentence
        assert sentence[0].isupper() or not sentence[0].isalpha(), sentence
        assert len(sentence.split()) >= 2, sentence


def test_no_command_is_left_out_of_the_help(chiasm):
    assert {name for name, _, _ in described()} == {"chiasm", *COMMANDS}
    out = chiasm("--help").out
    assert all(name in out for name in COMMANDS)


def test_help_of_every_command_imports_no_torch():
    code = f"""
import contextlib, io, sys
from chiasm.cli import main
for words in [[], ["--version"], *([name] for name in {COMMANDS!r})]:
    if words[-1:] != ["--version"]:
        words = [*words, "--help"]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            main(words)
    except SystemExit as stop:
        heavy = sorted({{"torch", "monai", "lightning", "diffusers", "numba"}} & set(sys.modules))
        if stop.code or heavy or not shown.getvalue():
            print(words, stop.code, heavy, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_help_names_the_methods_that_have_an_option(chiasm):
    shown = " ".join(chiasm("translate", "--help").out.split())
    # Lines of the help are boxed in no way, so that its text can be read on.
    assert "Methods: regression." in shown
    having = [
        m for m in registry.METHODS if "steps" in registry.METHODS.load(m).options.model_fields
    ]
    assert f"Methods: {', '.join(having)}." in shown


def test_nothing_is_written_by_help(chiasm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in COMMANDS:
        assert chiasm(name, "--help").code == 0
    assert files_below(tmp_path) == []
