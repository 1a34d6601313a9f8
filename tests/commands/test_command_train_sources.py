"""Methods that learn from more than the target: pairs, and any contrast."""

import csv
import json

import numpy as np
import pytest
from command_samples import TISSUE_NAMES, UNET, brain, files_below, load, save_nifti

from chiasm import files
from chiasm.image.volume import Label, LabelVolume
from chiasm.methods.baselines.paired.objective import PairedObjective
from chiasm.training.sources import UnpairedSamples

TINY = {"network": UNET, "batch": 2, "precision": "32-true", "warmup": 1, "ema": 0.5}
LEVELS = {"T1w": (30, 90, 150), "PDw": (150, 110, 80), "T2w": (160, 90, 40)}


@pytest.fixture
def dataset(tmp_path):
    """Four subjects with T1w, PDw, T2w and dseg."""
    folder = tmp_path / "bids"
    labels = tuple(Label(value, name, "#000000") for value, name in enumerate(TISSUE_NAMES))
    for seed, name in enumerate(("sub-01", "sub-02", "sub-03", "sub-04")):
        anat = folder / name / "anat"
        for modality, levels in LEVELS.items():
            scan = brain(seed=seed, levels=levels)
            path = save_nifti(anat / f"{name}_{modality}.nii.gz", scan)
        dseg = LabelVolume(brain(labels=True), files.read(path).affine, labels)
        files.write(dseg, anat / f"{name}_dseg.nii.gz")
    return folder


def command(dataset, out, method, *words, iterations=2, **settings):
    """The words of a short training run."""
    chosen = TINY | {"iterations": iterations} | settings
    pairs = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
    return ["train", "-i", dataset, "-o", out, "--target", "t1", "--method", method, *words, *pairs]


def config(folder):
    return json.loads((folder / "config.json").read_text())


def test_a_paired_model_learns_its_source_and_refuses_others(
    chiasm, dataset, out, opened, tmp_path
):
    words = ("--sources", "PD")
    rate = {"iterations": 60, "learning_rate": 0.01, "ema": 0}
    result = chiasm(*command(dataset, out, "paired", *words, **rate))
    assert (result.code, result.err) == (0, "")
    read = {path.name.split("_")[1] for path in opened if dataset in path.parents}
    assert read == {"T1w.nii.gz", "PDw.nii.gz"}
    assert (config(out)["method"], config(out)["sources"]) == ("paired", ["PDw"])
    assert "T1w and PDw scans of" in (out / "README.md").read_text()
    rows = csv.DictReader((out / "log" / "metrics.csv").open())
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses[-1] < 0.8 * losses[0]

    scan = save_nifti(tmp_path / "new_PDw.nii.gz", brain(seed=9, levels=LEVELS["PDw"]))
    used = chiasm("translate", "-i", scan, "-o", tmp_path / "used", "--model", out)
    assert (used.code, used.err) == (0, "")
    # T1w has the opposite order of brightness: white matter bright, CSF dark.
    made, tissue = load(tmp_path / "used" / "new_T1w.nii.gz"), brain(labels=True)
    assert made[tissue == 3].mean() > made[tissue == 2].mean() > made[tissue == 1].mean()
    other = save_nifti(tmp_path / "new_T2w.nii.gz", brain(levels=LEVELS["T2w"]))
    refused = chiasm("translate", "-i", other, "-o", tmp_path / "refused", "--model", out)
    assert refused.code == 1
    refused.assert_said(other, "T2w", "PDw")
    assert files_below(tmp_path / "refused") == []


def test_a_subject_without_its_source(chiasm, dataset, out):
    (dataset / "sub-02" / "anat" / "sub-02_PDw.nii.gz").unlink()
    result = chiasm(*command(dataset, out, "paired", "--sources", "T2,PD"))
    assert result.code == 1
    result.assert_said("-i", "sub-02_T1w.nii.gz", "has no PDw image", "sub-02_PDw.nii.gz")
    assert not out.exists()


@pytest.mark.parametrize("with_source", ["paired", "unpaired"])
def test_resuming_with_sources_repeats_the_unbroken_run(
    chiasm, dataset, out, monkeypatch, with_source
):
    monkeypatch.setattr(PairedObjective, "with_source", with_source)
    if with_source == "unpaired":
        monkeypatch.setattr(PairedObjective, "samples_class", UnpairedSamples)
    words = ("--sources", "PD,T2")
    seen = {}

    def run(name, *more, stop=None):
        original, calls = PairedObjective.loss, []

        def loss(self, batch, generator):
            calls.append(batch)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return original(self, batch, generator)

        with monkeypatch.context() as patch:
            patch.setattr(PairedObjective, "loss", loss)
            result = chiasm(*command(dataset, out / name, "paired", *words, iterations=4), *more)
        seen[name] = calls
        return result.code

    assert run("whole") == 0
    assert run("broken", stop=3) == 1
    assert run("broken", "--resume") == 0
    for one, other in zip(seen["whole"][2:4], seen["broken"][:2], strict=True):
        np.testing.assert_array_equal(one.source, other.source)
        np.testing.assert_array_equal(one.image, other.image)
    left, right = (load_weights(out / name) for name in ("whole", "broken"))
    for key, value in left.items():
        np.testing.assert_allclose(value, right[key], rtol=0, atol=1e-6, err_msg=key)


def load_weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_contrast_agnostic_segmenter_takes_any_modality(
    chiasm, dataset, out, tmp_path, scan, opened
):
    assert chiasm(*command(dataset, out, "contrast-agnostic")).code == 0
    assert not [path for path in opened if path.name.endswith(("PDw.nii.gz", "T2w.nii.gz"))]
    assert (config(out)["any_contrast"], config(out)["sources"]) == (True, [])
    used = chiasm("segment", "-i", scan, "-o", tmp_path / "used", "--segmenter", out)
    assert (used.code, used.err) == (0, "")
    assert files_below(tmp_path / "used") == ["sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]


def test_it_fits_every_translator(chiasm, scan, out, regression, segmenter, contrast_agnostic):
    words = ("run", "-i", scan, "-o", out, "--model", regression, "--segmenter")
    assert chiasm(*words, contrast_agnostic).code == 0
    text = (segmenter / "config.json").read_text()
    plain = out / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(text.replace('"target": "T1w"', '"target": "T2w"'))
    refused = chiasm(*words, plain)
    assert refused.code == 2
    refused.assert_said("--segmenter plain", "knows only T2w")
