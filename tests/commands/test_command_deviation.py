"""`--samples`: the mean of several translations, and their deviation beside it."""

import json

import numpy as np
import pytest
from command_samples import TARGET, brain, files_below, load, save_nifti

from chiasm.api import load_translator
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.methods.repeats import sample_seed


def translate(chiasm, scan, path, model, *options):
    result = chiasm("translate", "-i", scan, "-o", path, "--model", model, *options)
    assert (result.code, result.err) == (0, "")


def test_diffusion_is_averaged_over_seeds(chiasm, scan, out, diffusion):
    report = out / "report.json"
    seeds = [sample_seed(4, index) for index in range(3)]
    for seed in seeds:
        translate(chiasm, scan, out / f"{seed}.nii.gz", diffusion, "--seed", seed)
    options = ("--seed", 4, "--samples", 3, "--report", report)
    translate(chiasm, scan, out / "sub-01_T1w.nii.gz", diffusion, *options)
    stack = np.stack([load(out / f"{seed}.nii.gz") for seed in seeds]).astype(np.float64)
    span = TARGET.high - TARGET.low
    mean, deviation = load(out / "sub-01_T1w.nii.gz"), load(out / "sub-01_desc-std_T1w.nii.gz")
    np.testing.assert_allclose(mean, stack.mean(0), atol=1e-4 * span)
    np.testing.assert_allclose(deviation, stack.std(0, ddof=1), atol=1e-4 * span)
    assert deviation.max() > 0.01 * span
    assert (deviation[brain() == 0] == 0).all()
    (case,) = json.loads(report.read_text())["cases"]
    assert case["translation"]["samples"] == 3
    assert case["outputs"] == [str(out / f"sub-01_{n}T1w.nii.gz") for n in ("", "desc-std_")]
    inside = mean != TARGET.background
    rms = np.sqrt((deviation[inside].astype(float) ** 2).mean())
    assert case["translation"]["deviation_rms"] == pytest.approx(rms, rel=0.02)


def test_a_method_without_noise_is_averaged_over_acquisitions(chiasm, scan, out, regression):
    one, again, three = out / "one.nii.gz", out / "again.nii.gz", out / "three.nii.gz"
    translate(chiasm, scan, one, regression)
    translate(chiasm, scan, again, regression, "--samples", 1)
    translate(chiasm, scan, three, regression, "--samples", 3)
    np.testing.assert_array_equal(load(one), load(again))
    assert files_below(out) == [
        "again.nii.gz",
        "one.nii.gz",
        "three.nii.gz",
        "three_desc-std.nii.gz",
    ]
    deviation = load(out / "three_desc-std.nii.gz")
    assert deviation.max() > 0
    # The first of N samples is the one: it lies within s·(N − 1)/√N of their mean.
    inside = deviation > 0
    distance = np.abs(load(one) - load(three))[inside]
    assert (distance <= deviation[inside] * 2 / np.sqrt(3) + 0.1).all()


def test_samples_do_not_depend_on_the_batch(regression):
    volume = Volume(brain(), np.diag([2.0, 2, 4, 1]), modality="PDw")
    mask = brain() > 0
    one, four = (
        load_translator(regression, samples=2, seed=3, resources=Resources(batch=batch)).translate(
            volume, mask
        )
        for batch in (1, 4)
    )
    span = TARGET.high - TARGET.low
    np.testing.assert_allclose(one.volume.array / span, four.volume.array / span, atol=1e-4)
    np.testing.assert_allclose(one.deviation.array / span, four.deviation.array / span, atol=1e-4)
    assert load_translator(regression).translate(volume, mask).deviation is None


def test_run_writes_it_beside_image_and_labels(chiasm, tmp_path, out, regression, segmenter):
    for name in ("sub-01_PDw", "sub-01_T2w"):
        save_nifti(tmp_path / "in" / f"{name}.nii.gz", brain())
    models = ("--model", regression, "--segmenter", segmenter)
    assert chiasm("run", "-i", tmp_path / "in", "-o", out, *models, "--samples", 2).code == 0
    assert files_below(out) == [
        f"sub-01_desc-from{source}{rest}"
        for source in ("PDw", "T2w")
        for rest in ("Std_T1w.nii.gz", "_T1w.nii.gz", "_dseg.nii.gz", "_dseg.tsv")
    ]


def test_an_existing_deviation_is_not_replaced(chiasm, scan, out, regression):
    save_nifti(out / "a_desc-std_T1w.nii.gz", brain())
    given = ("-i", scan, "-o", out / "a_T1w.nii.gz", "--model", regression, "--samples", 2)
    result = chiasm("translate", *given)
    assert result.code == 1
    result.assert_said("a_desc-std_T1w.nii.gz", "--overwrite")
    assert files_below(out) == ["a_desc-std_T1w.nii.gz"]


@pytest.mark.parametrize("options", [("--samples", 0), ("--samples", 2, "--method", "histogram")])
def test_samples_that_cannot_be_are_refused(chiasm, scan, out, regression, options):
    given = ("-i", scan, "-o", out / "a.nii.gz", "--model", regression)
    result = chiasm("translate", *given, *options)
    assert result.code == 2
    result.assert_said("--samples", options[1])
    assert not out.exists()
