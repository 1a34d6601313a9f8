"""What the Makefiles train: every recipe and every setting is legal, and nothing is left out."""

import shlex
import subprocess
from pathlib import Path

import pytest

import aldm
import gpu
import harness  # registers the guides, the method and the segmenter of this folder  # noqa: F401
from chiasm import models
from chiasm.image.modality import modality_name
from chiasm.methods.method import Method
from chiasm.registry import METHODS
from chiasm.training.settings import training_settings

ROOT = Path(__file__).parents[2]
OWN = ("any-contrast", "joint", "lmi-published", "paired", "stylegan")
CYCLEGANS = ("cyclegan-FLAIR", "cyclegan-PD", "cyclegan-T2")


def commands(*words, folder="."):
    """The lines that make would run, as lists of words; what exists counts as missing."""
    made = ["make", "-C", str(ROOT / folder), "-B", "-n", "--no-print-directory", *words]
    done = subprocess.run(made, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.splitlines() if line.strip()]


def trainings(*words, folder="."):
    """Name of the model → the settings that its training would have."""
    found = {}
    for line in commands(*words, folder=folder):
        if line[1:2] != ["train"] or not line[0].endswith("chiasm"):
            continue
        options = {key: line[line.index(key) + 1] for key in line if key.startswith("-")}
        told = tuple(word for word in line if "=" in word and not word.startswith("-"))
        if "--modalities" in options:
            target, *sources = options["--modalities"].split(",")
        else:
            target, sources = options["--target"], options.get("--sources", "").split(",")
        found[Path(options["-o"]).name] = training_settings(
            options["--method"],
            modality_name(target),
            ROOT / options["--config"],
            told,
            tuple(filter(None, sources)),
        )
    return found


def test_make_models_trains_the_shipped_models():
    found = trainings("models", "ANATOMIES=label-maps")
    assert set(found) == set(models.shipped()) == {row[0] for row in gpu.PLAN}
    assert found["brain-t1-tissue"].merge_labels == {4: 3}
    assert found["brain-t1-tissue"].pretrained == "runs/brain-t1"
    assert found["brain-t1"].intensity_mapping.iterations == 3
    assert found["brain-t1"].anatomies is not None
    assert found["brain-t1-lmi"].timestep_bias == 1.5
    assert found["brain-any"].modalities == ["T1w", "T2w", "PDw", "FLAIR"]
    for name, method, _, _, share in gpu.PLAN:
        assert found[name].method == method
        assert 0 < share <= 1
    for name, settings in found.items():
        kind = "segmenter" if name == "brain-t1-tissue" else "translator"
        assert models.load(name, kind=kind).config.network == settings.network


def test_make_baselines_trains_what_is_compared():
    found = trainings("baselines", "ANATOMIES=maps", folder="benchmarks")
    assert set(found) == {f"heads-{name}" for name in (*OWN, *CYCLEGANS)}
    assert found["heads-cyclegan-PD"].sources == ["PDw"]
    assert found["heads-joint"].translator == "brain-t1"
    assert found["heads-lmi-published"].guides == [{"name": "lmi-published"}]


def test_make_any_baselines():
    found = trainings("any-baselines", folder="benchmarks")
    plain = found["brain-any-plain"]
    assert plain.latent.translator is None
    assert not plain.diffusion.residual
    assert plain.of_stage("autoencoder").iterations == 0
    assert found["any-without-PD"].of_stage("translator").iterations == 3000
    assert {found[f"paired-to-{to}"].target for to in ("T1", "T2", "PD", "FLAIR")} == {
        *plain.modalities
    }


def test_make_heads_trains_on_the_first_label_maps_and_measures_on_the_others():
    words = ("heads", "ANATOMIES=maps", "UNSEEN_ANATOMIES=others")
    found = trainings(*words, folder="benchmarks")
    assert set(found) == {f"heads-{name}" for name in (*OWN, *CYCLEGANS)}
    assert found["heads-cyclegan-T2"].sources == ["T2w"]
    lines = commands(*words, folder="benchmarks")
    drawn = {
        line[line.index("-o") + 1]: line[line.index("--anatomies") + 1]
        for line in lines
        if line[1:2] == ["phantom"]
    }
    assert drawn == {"data/heads": "maps", "data/unseen-heads": "others"}
    (table,) = (line for line in lines if "benchmarks/fidelity.py" in line)
    assert table[table.index("--data") + 1] == "data/unseen-heads"
    named = (table[k + 1] for k, word in enumerate(table) if word == "--model")
    compared = {word.split("=")[0] for word in named}
    others = {"published", "paired with detail transfer", "stylegan"}
    assert compared == {"any-contrast", "joint", "paired", *CYCLEGANS} | others


def options_of(word):
    """The method that a specification's name stands for, and the options after it."""
    name, folders, options = aldm.parsed(word)
    first = Path(folders[0]).name or name
    if first in models.shipped():
        return METHODS.load(models.peek(first)["method"]), options
    return METHODS.load(next(one for part, one in KINDS.items() if part in first)), options


# What the models that are trained for comparison run by.
KINDS = {"paired": "paired", "cyclegan": "cyclegan", "stylegan": "stylegan", "any": "aldm"}
KINDS |= {"lmi": "lmi-diffusion"}
EXPERIMENTS = {"slices", "quantise"}  # of benchmarks/aldm.py alone


@pytest.mark.parametrize("target", ["any-benchmarks", "any-real", "benchmarks", "heads"])
def test_the_models_of_a_table_have_the_options_that_they_are_run_with(target):
    checked = []
    for line in commands(
        target, "DATA=real", "ANATOMIES=a", "UNSEEN_ANATOMIES=b", folder="benchmarks"
    ):
        for place in (k for k, word in enumerate(line) if word == "--model"):
            word = line[place + 1]
            if "@" not in word:
                continue
            method, options = options_of(word)
            assert isinstance(method, Method)
            method.check({key: one for key, one in options.items() if key not in EXPERIMENTS})
            checked.append(word)
    assert bool(checked) == (target != "any-real")
