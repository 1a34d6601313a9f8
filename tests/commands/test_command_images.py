"""Images that cannot be used: one plain line, exit code 1, and the other cases are still done."""

import gzip

import numpy as np
import pytest
from command_samples import AFFINE, SHAPE, brain, files_below, save_nifti


def text(path):
    path.write_text("no image at all")


def truncated(path):
    save_nifti(path, brain())
    path.write_bytes(path.read_bytes()[:-200])


def several_volumes(path):
    save_nifti(path, np.stack([brain()] * 3, axis=-1))


def complex_numbers(path):
    save_nifti(path, brain().astype(np.complex64))


def colour(path):
    save_nifti(path, np.ones(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def with_value(value):
    def make(path):
        array = brain()
        array[10, 12, 3] = value
        save_nifti(path, array)

    return make


def filled_with(value):
    return lambda path: save_nifti(path, np.full(SHAPE, value, np.float32))


def too_large_for_single_precision(path):
    save_nifti(path, brain().astype(np.float64) * 1e300)


def with_spacing(*spacing):
    """The header's spacing changed in the file itself, as no careful program would write it."""

    def make(path):
        save_nifti(path, brain())
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[80:92] = np.array(spacing, "<f4").tobytes()
        path.write_bytes(gzip.compress(bytes(content)))

    return make


def singular_affine(path):
    affine = AFFINE.copy()
    affine[:, 1] = affine[:, 0]
    save_nifti(path, brain())
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[280:328] = affine[:3].astype("<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def of_shape(*shape):
    return lambda path: save_nifti(path, brain(shape))


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "text": (text, "not an image"),
    "truncated": (truncated, "truncated"),
    "4D with several volumes": (several_volumes, "3 volumes"),
    "complex": (complex_numbers, "complex"),
    "RGB": (colour, "colour"),
    "empty": (filled_with(0), "empty (all zero)"),
    "constant": (filled_with(7), "constant (all 7)"),
    "NaN": (with_value(np.nan), "NaN"),
    "Inf": (with_value(np.inf), "Inf"),
    "beyond single precision": (too_large_for_single_precision, "Inf"),
    "zero spacing": (with_spacing(2, 0, 4), "2×0×4 mm"),
    "negative spacing": (with_spacing(2, 2, -4), "2×2×-4 mm"),
    "singular affine": (singular_affine, "singular"),
    "too few rows": (of_shape(12, 28, 6), "12 voxels"),
    "too few columns": (of_shape(24, 15, 6), "15 voxels"),
}


@pytest.fixture(params=BAD)
def bad(request, tmp_path):
    """A path of an unusable image, and what must be said about it."""
    make, problem = BAD[request.param]
    path = tmp_path / "in" / "sub-00_T2w.nii.gz"
    path.parent.mkdir(exist_ok=True)
    make(path)
    return path, problem


def test_translate_tells_it_and_does_the_others(chiasm, bad, scan, out, regression):
    path, problem = bad
    result = chiasm("translate", "-i", path, "-i", scan, "-o", out, "--model", regression)
    assert result.code == 1
    result.assert_said("-i", path, problem)
    assert files_below(out) == ["sub-01_T1w.nii.gz"]


def test_alone_it_leaves_nothing(chiasm, bad, out, regression):
    path, problem = bad
    result = chiasm("translate", "-i", path, "-o", out / "a.nii.gz", "--model", regression)
    assert result.code == 1
    result.assert_said("-i", path, problem)
    assert files_below(out) == []


@pytest.mark.parametrize("kind", ["truncated", "missing", "too few rows"])
def test_segment_and_run_tell_it_too(chiasm, kind, scan, out, regression, segmenter):
    make, problem = BAD[kind]
    path = scan.with_name("sub-00_T2w.nii.gz")
    make(path)
    both = ("-i", path, "-i", scan, "-o", out, "--segmenter", segmenter)
    segmented = chiasm("segment", *both, "--modality", "T1")
    assert segmented.code == 1
    segmented.assert_said("-i", path, problem)
    assert files_below(out) == ["sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]

    done = chiasm("run", *both, "--model", regression, "--overwrite")
    assert done.code == 1
    done.assert_said("-i", path, problem)
    names = ["sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]
    assert files_below(out) == names


@pytest.mark.parametrize("argument", ["--pred", "--truth", "--mask"])
def test_evaluate_tells_it_under_the_options_name(chiasm, argument, scan, tmp_path, out):
    path = tmp_path / "damaged.nii.gz"
    truncated(path)
    given = {"--pred": scan, "--truth": scan, "--json": out / "scores.json"} | {argument: path}
    result = chiasm("evaluate", *(word for pair in given.items() for word in pair))
    assert result.code == 1
    result.assert_said(argument, path, "truncated")
    assert files_below(out) == []


def test_a_folder_without_images(chiasm, scan, tmp_path, out, regression):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("none here")
    result = chiasm("translate", "-i", empty, "-i", scan, "-o", out, "--model", regression)
    assert result.code == 1
    result.assert_said("-i", empty, "holds no image", ".nii.gz")
    assert files_below(out) == ["sub-01_T1w.nii.gz"]


def test_a_colour_png(chiasm, tmp_path, out, regression):
    from PIL import Image

    path = tmp_path / "slice.png"
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    result = chiasm("translate", "-i", path, "-o", out, "--model", regression)
    assert result.code == 1
    result.assert_said("-i", path, "colour")
    assert files_below(out) == []


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "does not exist"),
        (filled_with(0), "has no voxel inside"),
        (lambda path: save_nifti(path, brain(labels=True), 2 * AFFINE), "another grid"),
    ],
)
def test_a_mask_that_does_not_fit(chiasm, scan, tmp_path, out, regression, make, problem):
    mask = tmp_path / "brain_mask.nii.gz"
    make(mask)
    given = ("-i", scan, "-o", out, "--mask", mask, "--model", regression)
    result = chiasm("translate", *given)
    assert result.code == 1
    result.assert_said("--mask", problem)
    assert files_below(out) == []
