"""The card that `chiasm train` writes: the config's facts, in the form of the shipped cards."""

import re

import pytest

from chiasm import models
from chiasm.image.context import Context
from chiasm.training.card import card


def rows(text):
    return dict(re.findall(r"^\| (\w.*?) \| (.+?) \|$", text.split("## Data")[0], re.MULTILINE))


def config_of(name, **changes):
    shipped = models.load(name, kind=models.peek(name)["kind"]).config
    return shipped.model_copy(update=changes)


def of_slices(**changes):
    """A translator that was trained on axial slices of 2 mm of stripped brains."""
    config = config_of("brain-t1", brain_only=True, context=Context())
    grid = config.grid.model_copy(update={"spacing": (2.0, 2.0, None)})
    settings = config.training["settings"] | {"anatomies": None, "planes": []}
    settings |= {"segmenter_loss": None}
    facts = {
        "devices": 1,
        "settings": settings,
        "subjects": {"train": 43, "validation": 5},
        "samples": 3375,
    }
    facts |= {"seconds": 1407, "validation_loss": 0.0871, "memory_mb": None}
    training = config.training | facts
    return config.model_copy(update={"grid": grid, "training": training} | changes)


@pytest.mark.parametrize("name", models.shipped())
def test_rows_agree_with_the_shipped_card_which_was_written_by_hand(name):
    shipped = rows((models.SHIPPED / name / models.CARD).read_text(encoding="utf-8"))
    made = rows(card(config_of(name), name))
    same = {"Target", "Targets", "Modality", "Source", "Input", "Refinement iterations"}
    same |= {"Detail transfer", "Validation loss", "Time of the training"}
    assert {key: made.get(key) for key in same} == {key: shipped.get(key) for key in same}
    for key in ("Network", "Guide"):
        assert re.findall("`.*`", made.get(key, "")) == re.findall("`.*`", shipped.get(key, ""))
    if "Stage 1, autoencoder" in shipped:
        assert made["Stage 1, `autoencoder`"] == shipped["Stage 1, autoencoder"]
    else:
        assert made["Training"] == shipped["Training"]


def test_slices_with_neighbours_of_whole_heads_on_a_gpu():
    config = of_slices(brain_only=False, context=Context(kind="2.5d", neighbours=1))
    grid = config.grid.model_copy(update={"spacing": (1.0, 1.5, 5.0), "slice_axis": 0})
    training = config.training | {"device": "cuda:0", "memory_mb": 900}
    made = card(config.model_copy(update={"grid": grid, "training": training}), "mine")
    seen = "sagittal slices with pixels of 1 mm × 1.5 mm, a distance of 5 mm"
    seen += " and 1 neighbouring slice on each side"
    assert rows(made)["Input"] == f"whole heads, {seen}"
    assert f"It was trained on whole heads, in {seen}.\n" in made
    assert rows(made)["Time of the training"] == "1407 s on a GPU, at most 900 MiB"


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cpu", "1407 s on a CPU in 2 processes, at most 900 MiB each"),
        ("cuda:0", "1407 s on 2 GPUs, at most 900 MiB each"),
    ],
)
def test_each_of_several_processes_has_its_own_memory(device, words):
    config = of_slices()
    facts = {"device": device, "devices": 2, "memory_mb": 900}
    made = card(config.model_copy(update={"training": config.training | facts}), "mine")
    assert rows(made)["Time of the training"] == words


@pytest.mark.parametrize("model", [None, "brain-t1-tissue"])
def test_the_validation_loss_says_what_it_includes(model):
    config = of_slices()
    loss = None if model is None else {"model": model, "weight": 0.05}
    settings = config.training["settings"] | {"segmenter_loss": loss}
    training = config.training | {"settings": settings}
    made = rows(card(config.model_copy(update={"training": training}), "mine"))
    words = "; it includes the segmenter's loss"
    assert made["Validation loss"] == "0.0871, on 5 other subjects" + words * (model is not None)


def test_all_planes_at_the_scans_own_size():
    config = of_slices()
    settings = config.training["settings"] | {"planes": ["axial", "coronal", "sagittal"]}
    grid = config.grid.model_copy(update={"spacing": (None, None, None)})
    training = config.training | {"settings": settings}
    made = card(config.model_copy(update={"grid": grid, "training": training}), "mine")
    seen = "axial, coronal and sagittal slices with pixels of the scan's own size"
    assert rows(made)["Input"] == f"skull-stripped brains, {seen}"


def test_a_translator_of_known_sources_names_them():
    config = of_slices(method="paired", sources=["PDw", "T2w"])
    settings = config.training["settings"] | {"sources": ["PDw", "T2w"]}
    pretrained = "7 of 9 tensors of brain-t1"
    training = config.training | {"settings": settings, "pretrained": pretrained}
    made = card(config.model_copy(update={"training": training}), "mine")
    assert "makes T1w images from scans of PDw or T2w. Its method is `paired`." in made
    assert "trained on T1w, PDw and T2w scans of 43 subjects." in made
    assert rows(made)["Source"] == "PDw, T2w"
    assert rows(made)["First weights"] == pretrained


def test_one_subject_is_no_plural():
    config = of_slices()
    training = config.training | {"subjects": {"train": 1, "validation": 1}}
    made = card(config.model_copy(update={"training": training}), "mine")
    assert "on T1w scans of 1 subject.\nFor the validation, 1 other subject was used.\n" in made
    assert rows(made)["Training"].startswith("1 subject, 3375 slices, ")
    assert rows(made)["Validation loss"] == "0.0871, on 1 other subject"


def test_a_segmenter_of_any_contrast_says_so():
    made = card(config_of("brain-t1-tissue", any_contrast=True), "mine")
    assert "labels csf, grey and white on images of any modality." in made
    assert rows(made)["Modality"] == "any; the model has seen T1w only, under random contrast"
