"""`chiasm translate`: on the input's grid, in the target's units, and dependent on nothing else."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from command_samples import AFFINE, SHAPE, TARGET, brain, files_below, load, save_nifti
from PIL import Image

from chiasm import registry


def translated(chiasm, scan, path, model, *options):
    """The voxels of a translation that went well."""
    result = chiasm("translate", "-i", scan, "-o", path, "--model", model, *options)
    assert (result.code, result.err) == (0, "")
    return load(path)


def turned(degrees, spacing):
    """An oblique affine: rotated about two axes, then scaled."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag(spacing)
    affine[:3, 3] = (-11, 7.5, 30)
    return affine


GRIDS = {
    "as it is": (SHAPE, AFFINE),
    "oblique": (SHAPE, turned(20, (2, 2, 4))),
    "oblique and flipped": ((30, 26, 5), turned(-35, (-1.5, 2.2, 5))),
    "sagittal": (
        (26, 8, 22),
        np.array([[0, 0, 2.5, 1], [2, 0, 0, 2], [0, -3, 0, 3], [0, 0, 0, 1]]),
    ),
    "4D with one volume": ((*SHAPE, 1), AFFINE),
    "2D": ((32, 28), AFFINE),
    "one slice": ((24, 28, 1), AFFINE),
    "one slice along the first axis": ((1, 28, 24), np.diag([5, 2, 2, 1.0])),
    "one slice along the second axis": ((24, 1, 28), np.diag([2, 5, -2, 1.0])),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_the_output_lies_exactly_where_the_input_does(chiasm, grid, tmp_path, regression):
    shape, affine = GRIDS[grid]
    array = brain((*shape, 1)[:3]).reshape(shape)
    scan = save_nifti(tmp_path / "a_PDw.nii.gz", array, affine)
    out = tmp_path / "a_T1w.nii.gz"
    values = translated(chiasm, scan, out, regression)
    source, image = nib.load(scan), nib.load(out)
    assert values.shape == shape
    np.testing.assert_array_equal(image.affine, source.affine)
    for field in ("pixdim", "xyzt_units", "qform_code", "sform_code"):
        np.testing.assert_array_equal(image.header[field], source.header[field])
    assert (values[array == 0] == TARGET.background).all()
    inside = values[array > 0]
    assert np.ptp(inside) > 1
    # The brain is found in the image; specks of it may be left out.
    assert (inside > TARGET.background).mean() > 0.95
    assert inside.max() <= TARGET.high


DIFFUSIONS = ["lmi-diffusion", "sdedit", "loss-guidance"]
# In test_command_adversarial.py and test_command_aldm.py.
ELSEWHERE = ["cyclegan", "aldm"]


@pytest.mark.parametrize("method", [one for one in registry.METHODS if one not in ELSEWHERE])
def test_every_method_marks_what_it_made(chiasm, method, scan, out, regression, diffusion, paired):
    suitable = {"paired": paired} | dict.fromkeys(DIFFUSIONS, diffusion)
    model = suitable.get(method, regression)
    path = out / "a.nii.gz"
    values = translated(chiasm, scan, path, model, "--method", method)
    header = nib.load(path).header
    assert bytes(header["descrip"].item()).startswith(b"synthetic: chiasm")
    assert header.get_data_dtype() == np.float32
    assert np.isfinite(values).all()


@pytest.mark.parametrize("scheduler", registry.SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_every_scheduler_in_few_steps(chiasm, scheduler, steps, scan, out, diffusion):
    options = ("--scheduler", scheduler, "--steps", steps)
    values = translated(chiasm, scan, out / "a.nii.gz", diffusion, *options)
    assert np.isfinite(values).all()


def test_none_rescales_linearly_between_the_recorded_maps(chiasm, scan, out, regression):
    mask = save_nifti(scan.parent / "mask.nii.gz", (brain() > 0).astype(np.uint8))
    report = out / "report.json"
    options = ("--method", "none", "--mask", mask, "--report", report)
    values = translated(chiasm, scan, out / "a.nii.gz", regression, *options)
    (case,) = json.loads(report.read_text())["cases"]
    source, inside = brain().astype(float), brain() > 0
    low, high = np.percentile(source[inside], (0.5, 99.5))
    own = case["translation"]["intensity"]
    assert own["low"] == pytest.approx(low, rel=1e-5)
    assert own["high"] == pytest.approx(high, rel=1e-5)
    unit = np.clip((source - low) / (high - low), 0, 1)
    expected = np.where(inside, TARGET.low + unit * (TARGET.high - TARGET.low), TARGET.background)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("method", DIFFUSIONS)
@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_the_batch_does_not_change_the_result(chiasm, method, scheduler, scan, out, diffusion):
    options = ("--method", method, "--scheduler", scheduler)
    one, four = (
        translated(chiasm, scan, out / f"{n}.nii.gz", diffusion, *options, "--batch", n)
        for n in (1, 4)
    )
    span = TARGET.high - TARGET.low
    # A gradient of unit length magnifies the rounding where it is flat.
    rounding = 1e-3 if method == "loss-guidance" else 1e-4
    np.testing.assert_allclose(one / span, four / span, atol=rounding)


@pytest.mark.parametrize("guidance", [0, 1])
def test_loss_guidance_of_no_strength_is_the_plain_diffusion(
    chiasm, guidance, scan, out, diffusion
):
    options = ("--guidance", guidance, "--seed", 3, "--steps", 3)
    plain = translated(chiasm, scan, out / "plain.nii.gz", diffusion, *options)
    options += ("--method", "loss-guidance", "--report", out / "how.json")
    still, moved = (
        translated(
            chiasm, scan, out / f"{strength}.nii.gz", diffusion, *options,
            "--strength", strength, "--overwrite",
        )
        for strength in (0, 0.2)
    )  # fmt: skip
    np.testing.assert_array_equal(still, plain)
    assert not np.array_equal(moved, plain)
    (case,) = json.loads((out / "how.json").read_text())["cases"]
    assert case["options"]["strength"] == 0.2
    assert case["translation"]["loss_guidance"]["strength"] == 0.2
    assert case["translation"]["guidance"] == guidance


def test_nor_do_the_other_cases(chiasm, scan, tmp_path, out, diffusion):
    alone = translated(chiasm, scan, out / "alone.nii.gz", diffusion)
    other = save_nifti(tmp_path / "in" / "sub-00_PDw.nii.gz", brain((30, 26, 9), seed=3))
    given = ("-i", other, "-i", scan, "-o", out, "--model", diffusion)
    assert chiasm("translate", *given).code == 0
    np.testing.assert_array_equal(load(out / "sub-01_T1w.nii.gz"), alone)


def test_the_seed_decides_and_nothing_else_does(chiasm, scan, out, diffusion):
    first, again, other = (
        translated(chiasm, scan, out / f"{name}.nii.gz", diffusion, "--seed", seed)
        for name, seed in (("first", 5), ("again", 5), ("other", 6))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_options_reach_the_run(chiasm, scan, out, diffusion):
    report = out / "report.json"
    options = {"--steps": 4, "--scheduler": "unipc", "--guidance": 0.5, "--seed": 3, "--batch": 2}
    words = [word for pair in options.items() for word in pair]
    translated(chiasm, scan, out / "a.nii.gz", diffusion, *words, "--report", report)
    content = json.loads(report.read_text())
    expected = {"steps": 4, "scheduler": "unipc", "guidance": 0.5, "seed": 3}
    assert content["settings"]["batch"] == 2
    (asked,), (case,) = content["settings"]["pipelines"], content["cases"]
    for used in (asked["options"], case["options"], case["translation"]):
        assert {key: used[key] for key in expected} == expected


def test_detail_is_put_back_on_request(chiasm, scan, out, regression):
    made, reports = {}, {}
    for word in ("--detail", "--no-detail", None):
        report = out / f"{word}.json"
        more = ("--report", report) if word is None else (word, "--report", report)
        made[word] = translated(chiasm, scan, out / f"{word}.nii.gz", regression, *more)
        (reports[word],) = json.loads(report.read_text())["cases"]
    np.testing.assert_array_equal(made[None], made["--no-detail"])
    assert (made["--detail"] != made[None]).any()
    assert reports["--no-detail"]["translation"]["detail_transfer"] is None
    assert reports["--detail"]["translation"]["detail_transfer"]["width"] > 0


def test_the_report_tells_all_that_was_done(chiasm, scan, tmp_path, out, regression):
    missing = tmp_path / "in" / "sub-02_PDw.nii.gz"
    report = tmp_path / "reports" / "report.json"
    given = ("-i", missing, "-i", scan, "-o", out, "--model", regression, "--report", report)
    assert chiasm("translate", *given).code == 1
    content = json.loads(report.read_text())
    (asked,) = content["settings"]["pipelines"]
    assert asked["model"].startswith("tiny-regression ")
    assert asked["method"] == "regression"
    (failed,) = content["failed"]
    assert str(missing) in failed
    (case,) = content["cases"]
    assert case["input"] == str(scan)
    assert case["outputs"] == [str(out / "sub-01_T1w.nii.gz")]
    translation = case["translation"]
    assert translation["grid"]["source"]["shape"] == list(SHAPE)
    np.testing.assert_allclose(translation["grid"]["source"]["rows"], AFFINE)
    assert translation["intensity"]["low"] < translation["intensity"]["high"]
    assert translation["seconds"] > 0
    assert translation["device"] == "cpu" or torch.cuda.is_available()


def test_the_sources_modality_chooses_its_intensity_policy(chiasm, scan, out, regression):
    report = out / "report.json"
    options = ("--modality", "ct", "--method", "none", "--report", report)
    translated(chiasm, scan, out / "a.nii.gz", regression, *options)
    (case,) = json.loads(report.read_text())["cases"]
    own = case["translation"]["intensity"]
    assert (own["low"], own["high"], own["units"]) == (-20, 100, "HU")


@pytest.mark.parametrize("name", ["T1", "t1w", "T1w"])
def test_the_target_may_be_named_in_any_way(chiasm, name, scan, out, regression):
    translated(chiasm, scan, out / "a.nii.gz", regression, "--to", name)


def test_nothing_is_made_outside_the_mask(chiasm, scan, out, regression):
    mask = np.zeros(SHAPE, np.uint8)
    mask[8:16, 8:20, 1:5] = 1
    path = save_nifti(scan.parent / "sub-01_mask.nii.gz", mask)
    values = translated(chiasm, scan, out / "a.nii.gz", regression, "--mask", path)
    assert (values[mask == 0] == TARGET.background).all()
    assert (values[mask == 1] >= TARGET.low).all()


def test_threads_are_limited(chiasm, scan, out, regression):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        translated(chiasm, scan, out / "a.nii.gz", regression, "--threads", 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("brain_only", [True, False, None])
def test_a_whole_head_is_said_so_if_the_model_knows_brains(
    chiasm, tmp_path, out, regression, brain_only
):
    model = shutil.copytree(regression, tmp_path / "model")
    config = json.loads((model / "config.json").read_text()) | {"brain_only": brain_only}
    (model / "config.json").write_text(json.dumps(config))
    large = np.diag([10.0, 10, 40, 1])  # 240 × 280 × 240 mm
    scan = save_nifti(tmp_path / "head_PDw.nii.gz", brain(), large)
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model)
    assert result.code == 0
    told = f"{scan}: This scan looks like a whole head, but model was trained on"  # its folder
    said = [f"chiasm: warning: {told}"] if brain_only else []
    assert [line.split(" skull")[0] for line in result.err.splitlines()] == said
    assert files_below(out) == ["head_T1w.nii.gz"]


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_slice_gives_a_slice_of_its_size(chiasm, ending, dtype, tmp_path, out, regression):
    pixels = brain((40, 36, 1))[..., 0].astype(dtype)
    path = tmp_path / f"slice_PD{ending}"
    Image.fromarray(pixels).save(path)
    given = ("-i", path, "-o", out, "--model", regression)
    assert chiasm("translate", *given, "--spacing", 2).code == 0
    made = Image.open(out / f"slice_T1w{ending}")
    assert made.size == (36, 40)
    assert np.asarray(made).dtype == dtype
    assert np.ptp(np.asarray(made)) > 0

    assumed = chiasm("translate", *given, "--overwrite")
    assert assumed.code == 0
    assert "a spacing of 1 mm; --spacing" in assumed.err


def test_a_spacing_is_not_for_a_nifti(chiasm, scan, out, regression):
    result = chiasm("translate", "-i", scan, "-o", out, "--model", regression, "--spacing", 2)
    assert result.code == 1
    result.assert_said("--spacing", scan, "header")
