"""The segmenter that sees a scan beside its translation: training, use, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import AFFINE, LABELS, SHAPE, TINY, UNET, dataset, scan, tissue

import joint.joint  # registers the segmenter and its training
from chiasm import files, models
from chiasm.errors import UsageError
from chiasm.image.context import Context
from chiasm.image.foreground import foreground_mask
from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings, prepare, restore_labels
from chiasm.machine.device import Resources
from chiasm.methods.load import load_translator
from chiasm.segmenters.load import load_segmenter
from chiasm.training.fit import train
from chiasm.training.settings import training_settings
from joint.joint import JointSegmenter

SHARED = {"target": "T1w", "grid": GridSettings(spacing=(2.0, 2.0, None)), "network": UNET}


def saved(folder, **changes):
    """A model of random weights."""
    torch.manual_seed(1)
    config = models.ModelConfig(**SHARED | changes)
    module = models.build(config)
    with torch.no_grad():
        for weights in module.parameters():  # some layers start at 0 and would hide the others
            weights.add_(0.1 * torch.randn(weights.shape))
    models.save(folder, config, module, "# random weights\n")
    return folder


@pytest.fixture
def translator(tmp_path):
    return saved(
        tmp_path / "translator",
        kind="translator",
        method="regression",
        settings={"guides": [{"name": "source"}]},
        intensity=IntensityMap(low=100, high=900, units="a.u.", background=50),
        quantiles=np.linspace(0, 1, 33).tolist(),
    )


@pytest.fixture
def segmenter(tmp_path, translator):
    return joint_model(tmp_path / "joint", {"translator": str(translator)})


def joint_model(folder, settings):
    labels = [models.LabelSettings(**vars(one)) for one in LABELS]
    kept = {"labels": labels, "any_contrast": True, "settings": settings}
    return saved(folder, kind="segmenter", method="joint", **kept)


def loaded(folder, batch=8):
    return load_segmenter(folder, Resources(batch=batch, device="cpu"))


CPU = Resources(device="cpu")
PD = scan((150, 110, 80), "PDw")


def test_labels_are_those_of_the_scan_beside_its_translation(segmenter, translator):
    """By hand: translate, lay both on the grid, run the network, take the largest score."""
    inside = tissue() > 0
    found = loaded(segmenter, batch=4).segment(PD, inside)
    made = load_translator(translator, resources=CPU).translate(PD, inside).volume
    network = models.load(segmenter, kind="segmenter").module
    grid, divisible_by = SHARED["grid"], network.divisible_by
    translated, own = (
        prepare(one, grid, Context(), divisible_by=divisible_by, mask=inside) for one in (made, PD)
    )
    samples = np.concatenate([own.samples(), translated.samples()], axis=1)
    with torch.inference_mode():
        scores = network(torch.from_numpy(samples)).softmax(1).numpy()
    # Padding slices hold no foreground: the network is not run on them.
    empty = np.setdiff1d(np.arange(len(samples)), translated.slice_indices())
    scores[empty] = np.eye(4, dtype=np.float32)[0][:, None, None]
    expected = restore_labels([(translated, scores)], LABELS)
    np.testing.assert_array_equal(found.labels.array, expected.array)
    assert len(np.unique(found.labels.array[inside])) > 1
    assert found.record["translation"]["model"] == "translator"


def test_it_looks_at_both_images(segmenter):
    inside = tissue() > 0
    joined = loaded(segmenter)
    first = joined.segment(PD, inside).labels.array
    real = joined.translator.translate_canonical
    with pytest.MonkeyPatch.context() as patch:
        # The same translation of another scan, then another translation of the same scan.
        fixed = real(PD, inside)
        other = scan((150, 20, 90), "PDw", seed=5)
        patch.setattr(joined.translator, "translate_canonical", lambda *_: fixed)
        np.testing.assert_array_equal(joined.segment(PD, inside).labels.array, first)
        assert (joined.segment(other, inside).labels.array != first).any()
        changed = real(other, inside)
        patch.setattr(joined.translator, "translate_canonical", lambda *_: changed)
        assert (joined.segment(PD, inside).labels.array != first).any()


def test_without_a_mask_it_finds_one_foreground_for_both(segmenter):
    alone = loaded(segmenter).segment(PD).labels
    given = loaded(segmenter).segment(PD, foreground_mask(PD)).labels
    np.testing.assert_array_equal(alone.array, given.array)


def test_what_it_declares(segmenter):
    joined = loaded(segmenter)
    assert isinstance(joined, JointSegmenter)
    assert (joined.name, joined.modality) == ("joint", None)
    assert joined.labels == LABELS


def test_a_translator_to_another_modality_is_refused(segmenter, translator):
    path = translator / "config.json"
    path.write_text(path.read_text().replace('"target": "T1w"', '"target": "T2w"'))
    with pytest.raises(UsageError, match=r"translator .* makes T2w, which joint does not know"):
        loaded(segmenter).segment(PD)


def test_it_is_trained_on_the_target_alone_and_runs(tmp_path, translator):
    subjects = dataset(tmp_path / "bids")
    for path in subjects.rglob("*_PDw.nii.gz"):
        path.write_bytes(b"not read")
    own = TINY | {"translator": str(translator)}
    told = tuple(f"{key}={json.dumps(value)}" for key, value in own.items())
    out = tmp_path / "trained"
    train(subjects, out, training_settings("joint-segmenter", "T1w", None, told))
    config = json.loads((out / "config.json").read_text())
    assert (config["method"], config["any_contrast"]) == ("joint", True)
    assert config["settings"]["translator"] == str(translator)
    labels = loaded(out).segment(PD).labels
    assert labels.array.shape == SHAPE


def test_a_setting_that_it_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="joint does not have the settings guides"):
        joint_model(tmp_path / "other", {"guides": []})


@pytest.mark.long
def test_the_command_segments_a_scan_of_any_modality(tmp_path):
    segmenter = joint_model(tmp_path / "joint", {})
    path = tmp_path / "sub-01_PDw.nii.gz"
    nib.save(nib.Nifti1Image(PD.array, AFFINE), path)
    words = ["segment", "-i", path, "-o", tmp_path / "out.nii.gz", "--segmenter", segmenter]
    environment = os.environ | {"CHIASM_PLUGINS": str(Path(joint.joint.__file__))}
    command = [sys.executable, "-m", "chiasm", *map(str, words)]
    subprocess.run(command, check=True, env=environment)
    found = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)
    expected = loaded(segmenter).segment(files.read(path)).labels
    np.testing.assert_array_equal(found, expected.array)
