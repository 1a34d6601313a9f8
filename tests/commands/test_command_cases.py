"""What went wrong once with real data, as small commands: it must not come back."""

import json

import nibabel as nib
import numpy as np
import pytest
from command_samples import AFFINE, SHAPE, UNET, brain, files_below, load, save_nifti

from chiasm import files


@pytest.fixture
def done(chiasm, regression, segmenter):
    """Run `chiasm run` with the tiny models."""

    def run(source, out, *more):
        words = ("--model", regression, "--segmenter", segmenter)
        return chiasm("run", "-i", source, "-o", out, *words, *more)

    return run


def images(folder):
    return [name for name in files_below(folder) if name.endswith(".nii.gz")]


def test_a_link_whose_content_is_absent_is_told(done, tmp_path, out):
    """A dataset of datalad whose content was not fetched."""
    save_nifti(tmp_path / "ds" / "sub-01" / "sub-01_T2w.nii.gz", brain())
    link = tmp_path / "ds" / "sub-02" / "sub-02_T2w.nii.gz"
    link.parent.mkdir()
    link.symlink_to("../.git/annex/objects/none.nii.gz")
    result = done(tmp_path / "ds", out)
    assert result.code == 1
    result.assert_said("-i", link, "content is absent", "datalad get")
    assert images(out) == [f"sub-01/sub-01_{end}.nii.gz" for end in ("T1w", "dseg")]


def test_of_a_bids_dataset_the_anatomical_scans_are_taken(done, tmp_path, out):
    """Field maps, single-band references and series are neither translated nor errors."""
    subject, small = tmp_path / "ds" / "sub-01", brain((20, 20, 4))
    (tmp_path / "ds").mkdir()
    description = tmp_path / "ds" / "dataset_description.json"
    description.write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    save_nifti(subject / "anat" / "sub-01_T2w.nii.gz", brain())
    save_nifti(subject / "func" / "sub-01_task-rest_bold.nii.gz", np.stack([small] * 3, -1))
    save_nifti(subject / "func" / "sub-01_task-rest_sbref.nii.gz", small)
    save_nifti(subject / "fmap" / "sub-01_phasediff.nii.gz", small)
    save_nifti(subject / "perf" / "sub-01_asl.nii.gz", small)
    result = done(tmp_path / "ds", out)
    assert result.code == 0
    (told,) = result.err.splitlines()
    assert "4 images were left out" in told
    assert images(out) == [f"sub-01/anat/sub-01_{end}.nii.gz" for end in ("T1w", "dseg")]


def test_label_maps_are_no_scans(done, tmp_path, out):
    """Of BraTS, and lesions beside a scan; no word of a mask that nobody gave."""
    labels = brain(labels=True)
    folder = tmp_path / "in" / "BraTS2021_00002"
    save_nifti(folder / "BraTS2021_00002_t2.nii.gz", brain())
    save_nifti(folder / "BraTS2021_00002_seg.nii.gz", labels)
    save_nifti(tmp_path / "in" / "lesions.nii.gz", (labels == 2).astype(np.uint8))
    result = done(tmp_path / "in", out)
    assert (result.code, result.err) == (0, "chiasm: 2 label maps or masks were left out.\n")
    assert len(images(out)) == 2


def test_a_label_map_that_is_named_is_taken_with_a_warning(done, tmp_path, out):
    path = save_nifti(tmp_path / "x_seg.nii.gz", brain(labels=True))
    result = done(path, out)
    assert "--mask" not in result.err
    assert any("label map" in line for line in result.err.splitlines())


def test_a_chequerboard_ends(done, tmp_path, out):
    """The threshold of Li oscillated for ever on it."""
    array = (np.indices((40, 44, 8)).sum(0) % 2) * np.float32(100)
    result = done(save_nifti(tmp_path / "c_T2w.nii.gz", array), out)
    assert result.code in (0, 1)
    assert "Traceback" not in result.err


@pytest.mark.parametrize("first", ["a_T2w", "c_T2w"])
def test_a_scan_with_one_voxel_is_one_scans_error(done, tmp_path, out, first):
    """Failed stripping; the other scan is done, before it or after it."""
    single = np.zeros(SHAPE, np.float32)
    single[12, 14, 3] = 5
    bad = save_nifti(tmp_path / "in" / f"{first}.nii.gz", single)
    save_nifti(tmp_path / "in" / "b_T2w.nii.gz", brain())
    result = done(tmp_path / "in", out)
    assert result.code == 1
    result.assert_said(bad, "foreground of 1 voxel", "skull stripping")
    assert "--mask" not in result.err
    assert images(out) == ["b_T1w.nii.gz", "b_dseg.nii.gz"]


def test_a_header_in_microns_is_read_in_microns(done, tmp_path, out):
    image = nib.Nifti1Image(brain(), np.diag([1000, 1000, 1000, 1.0]) @ AFFINE)
    image.header.set_xyzt_units("micron")
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "a_T2w.nii.gz")
    save_nifti(tmp_path / "in" / "b_T2w.nii.gz", brain())
    assert done(tmp_path / "in", out).code == 0
    assert len(images(out)) == 4
    for end in ("T1w", "dseg"):
        np.testing.assert_array_equal(load(out / f"a_{end}.nii.gz"), load(out / f"b_{end}.nii.gz"))
    assert files.read(out / "a_T1w.nii.gz").spacing == pytest.approx((2, 2, 4))


def test_one_scan_that_does_not_fit_the_memory_ends_no_batch(done, tmp_path, out, monkeypatch):
    """The memory is made small, so that the first scan alone does not fit."""
    import chiasm.image.foreground as foreground

    original = foreground.check_fits
    small = brain().size

    def check_fits(needed, *words):
        if needed > 2 * small * foreground._FOREGROUND_BYTES:
            raise MemoryError
        return original(needed, *words)

    monkeypatch.setattr(foreground, "check_fits", check_fits)
    big = save_nifti(tmp_path / "in" / "a_T2w.nii.gz", brain((60, 60, 9)))
    save_nifti(tmp_path / "in" / "b_T2w.nii.gz", brain())
    result = done(tmp_path / "in", out, "--report", tmp_path / "r.json")
    assert result.code == 1
    result.assert_said(big, "does not fit the memory", "--batch")
    assert images(out) == ["b_T1w.nii.gz", "b_dseg.nii.gz"]
    assert json.loads((tmp_path / "r.json").read_text())["finished"] is True


def test_a_second_run_into_the_dataset_does_what_is_new(done, tmp_path, out):
    data = tmp_path / "ds"
    made = data / "derivatives" / "chiasm"
    save_nifti(data / "sub-01" / "anat" / "sub-01_T2w.nii.gz", brain())
    assert done(data, made).code == 0
    first = {name: (made / name).read_bytes() for name in files_below(made)}
    save_nifti(data / "sub-02" / "anat" / "sub-02_T2w.nii.gz", brain(seed=2))
    again = done(data, made)
    assert again.code == 1  # what exists is not replaced unasked
    assert "sub-01_desc-fromT2w_T1w.nii.gz: exists" in again.err
    assert (made / "sub-02" / "anat" / "sub-02_desc-fromT2w_dseg.nii.gz").is_file()
    assert {name: (made / name).read_bytes() for name in first} == first
    assert done(data, made, "--overwrite").code == 0
    assert len(images(made)) == 4


def test_what_chiasm_made_is_no_source(chiasm, done, tmp_path, out, regression):
    """In derivatives, and in a folder of any name."""
    data = tmp_path / "ds"
    save_nifti(data / "sub-01" / "anat" / "sub-01_T2w.nii.gz", brain())
    assert done(data, data / "derivatives" / "chiasm").code == 0
    assert done(data, data / "mine").code == 0
    result = chiasm("translate", "-i", data, "-o", out, "--model", regression)
    assert result.code == 0
    assert images(out) == ["sub-01/anat/sub-01_T1w.nii.gz"]


@pytest.mark.parametrize("place", ["derivatives/chiasm", "mine"])
def test_it_is_neither_trained_on_nor_a_truth(chiasm, done, tmp_path, out, place, segmenter):
    """Of T2 scans alone and what was made of them, there is no real T1w."""
    data = tmp_path / "ds"
    for subject in ("sub-01", "sub-02"):
        save_nifti(data / subject / "anat" / f"{subject}_T2w.nii.gz", brain())
    assert done(data, data / place).code == 0
    words = ("--target", "T1", "--method", "regression", f"network={json.dumps(UNET)}")
    trained = chiasm("train", "-i", data, "-o", out / "model", *words, "iterations=1")
    assert trained.code == 1
    trained.assert_said("-i", data, "holds no T1w image")
    compared = chiasm("compare", "-i", data, "-o", out / "table", "--methods", "none")
    assert compared.code == 1
    compared.assert_said("-i", data, "T1w")
    assert files_below(out) == []


@pytest.mark.parametrize("slices", [1, 6])
def test_a_slab_of_an_unstripped_head_is_noticed(
    chiasm, tmp_path, out, regression, segmenter, slices
):
    """Skull and scalp, in air that has noise; of few slices as of many."""
    folder = tmp_path / "knows-brains"
    folder.mkdir()
    for path in regression.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {"brain_only": True}
    (folder / "config.json").write_text(json.dumps(config))
    shape = (100, 120, slices)
    at = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else [0.0] for n in shape), indexing="ij")
    radius = np.hypot(at[0], at[1])
    head = np.select([radius < 0.6, radius < 0.7, radius < 0.8], [120, 15, 160], 0)
    noise = np.abs(np.random.default_rng(0).normal(0, 4, shape))
    affine = np.diag([2.0, 2, 4, 1])
    scan = save_nifti(tmp_path / "h_T2w.nii.gz", (head + noise).astype(np.float32), affine)
    report = tmp_path / "r.json"
    result = chiasm("translate", "-i", scan, "-o", out, "--model", folder, "--report", report)
    assert result.code == 0
    assert f"chiasm: warning: {scan}: This scan looks like a whole head" in result.err
    (case,) = json.loads(report.read_text())["cases"]
    assert any("whole head" in warning for warning in case["warnings"])
    # The brain alone, as a mask, is what the model knows.
    mask = save_nifti(tmp_path / "brain.nii.gz", (radius < 0.6).astype(np.uint8), affine)
    words = ("translate", "-i", scan, "-o", out, "--model", folder, "--mask", mask, "--overwrite")
    assert (chiasm(*words).code, chiasm(*words).err) == (0, "")


def test_intensities_that_no_scan_has_are_refused(done, tmp_path, out):
    """A flipped bit in the exponent of one voxel; its square does not fit float32."""
    array = brain()
    array[12, 14, 3] = 3e37
    result = done(save_nifti(tmp_path / "a_T2w.nii.gz", array), out)
    assert result.code == 1
    result.assert_said("-i", "holds intensities up to 3e+37", "at most 1e+15")


def test_what_is_made_of_a_volume_of_freesurfer_is_nifti(chiasm, done, tmp_path, out):
    scan = tmp_path / "in" / "sub-01_T2w.mgz"
    scan.parent.mkdir()
    nib.MGHImage(brain(), AFFINE).to_filename(scan)
    result = done(scan.parent, out)
    assert result.code == 0, result.err
    assert images(out) == ["sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz"]
    np.testing.assert_allclose(nib.load(out / "sub-01_T1w.nii.gz").affine, AFFINE, atol=1e-4)
    result = chiasm("translate", "-i", scan, "-o", out / "a.mgz", "--method", "histogram")
    assert result.code == 2
    result.assert_said("-o", "a.mgz", "only read", ".nii.gz")
