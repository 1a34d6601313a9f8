"""The source's own detail in a translation: where it belongs, and where it does not."""

import itertools
import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chiasm import api, models
from chiasm.errors import CaseError
from chiasm.methods import detail_transfer
from chiasm.methods.detail_transfer import (
    DetailTransferSettings,
    _gathered,
    locally_mapped,
    with_detail,
)

SPACING = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def source():
    """Blobs of every intensity, 40 × 40 × 40."""
    noise = np.random.default_rng(0).normal(size=(40, 40, 40))
    smooth = gaussian_filter(noise, 1.5)
    return np.clip(0.5 + smooth / smooth.std() / 5, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def mask():
    inside = np.zeros((40, 40, 40), bool)
    inside[4:36, 4:36, 4:36] = True
    return inside


def negative(image):
    """Falling, and not straight: another contrast."""
    return (1 - image) ** 2


def error(image, truth, mask):
    return float(np.sqrt(np.mean((image - truth)[mask] ** 2)))


def test_voxels_are_shared_by_the_cells_around_them():
    rng = np.random.default_rng(1)
    shape = (3, 4, 2, 5)
    position = (rng.random((50, 4)) * (np.array(shape) - 1)).astype(np.float32)
    position[0] = np.array(shape) - 1  # the last corner belongs to the last cell
    values = rng.random(50)
    count, total = np.zeros(shape), np.zeros(shape)
    for where, value in zip(position, values, strict=True):
        for cell in itertools.product(*map(range, shape)):
            weight = np.prod(np.clip(1 - np.abs(where - cell), 0, None))
            count[cell] += weight
            total[cell] += weight * value
    found = _gathered(position, values, shape)
    np.testing.assert_allclose(found[0], count, atol=1e-5)
    np.testing.assert_allclose(found[1], total, atol=1e-5)


def test_of_a_wide_neighbourhood_it_is_one_curve(source, mask):
    """The mean translation at each intensity, straight between nodes."""
    translation = negative(source) + np.random.default_rng(2).normal(size=source.shape) * 0.1
    settings = DetailTransferSettings(width=1e6, nodes=11, prior=1e-9)
    mapped = locally_mapped(source, translation, mask, SPACING, settings)
    nodes = np.linspace(0, 1, 11)
    weight = np.clip(1 - np.abs(source[mask][:, None] - nodes) * 10, 0, None)
    curve = (weight * translation[mask][:, None]).sum(0) / weight.sum(0)
    np.testing.assert_allclose(mapped, np.interp(source[mask], nodes, curve), atol=1e-5)


def test_a_blurred_translation_is_sharp_again(source, mask):
    truth = negative(source)
    blurred = gaussian_filter(truth, 1.0)
    found = with_detail(source, blurred, mask, SPACING, DetailTransferSettings())
    assert error(found, truth, mask) < 0.4 * error(blurred, truth, mask)


def test_the_curve_may_change_from_place_to_place(source, mask):
    """A bias across the volume, which no single curve explains."""
    bias = np.linspace(0.6, 1.0, 40)[:, None, None]
    truth = negative(source) * bias
    blurred = gaussian_filter(truth, 1.0)
    local, whole = (
        with_detail(source, blurred, mask, SPACING, DetailTransferSettings(width=width))
        for width in (6.0, 1e6)
    )
    assert error(local, truth, mask) < 0.5 * error(blurred, truth, mask)
    assert error(local, truth, mask) < 0.7 * error(whole, truth, mask)


def test_what_the_source_cannot_tell_apart_stays(source, mask):
    """Two tissues of one source intensity: the translation alone knows them."""
    alike, translation = source.copy(), negative(source)
    ball = np.linalg.norm(np.indices(mask.shape) - 20, axis=0) < 6
    other = (
        np.linalg.norm(np.indices(mask.shape) - np.array([[[[30]]], [[[30]]], [[[12]]]]), axis=0)
        < 6
    )
    alike[ball | other] = 0.5
    translation[ball], translation[other] = 0.9, 0.8
    found = with_detail(alike, translation, mask, SPACING, DetailTransferSettings())
    np.testing.assert_allclose(found[ball], 0.9, atol=0.06)
    np.testing.assert_allclose(found[other & mask], 0.8, atol=0.06)


def test_widths_are_in_mm(source, mask):
    translation = gaussian_filter(negative(source), 1.0)
    settings = DetailTransferSettings()
    lengths = {name: 2 * getattr(settings, name) for name in ("width", "reach", "blur")}
    doubled = settings.model_copy(update=lengths)
    one = with_detail(source, translation, mask, SPACING, settings)
    other = with_detail(source, translation, mask, (2.0, 2.0, 2.0), doubled)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_outside_the_head_nothing_changes(source, mask):
    translation = negative(source).astype(np.float32)
    translation[~mask] = -3
    found = with_detail(source, translation, mask, SPACING, DetailTransferSettings())
    assert (found[~mask] == -3).all()
    assert (np.abs(found[mask]) <= 1).all()
    empty = with_detail(source, translation, np.zeros_like(mask), SPACING, DetailTransferSettings())
    np.testing.assert_array_equal(empty, translation)


def test_in_parts_it_is_the_same(source, mask, monkeypatch):
    whole = with_detail(source, negative(source), mask, SPACING, DetailTransferSettings())
    monkeypatch.setattr(detail_transfer, "_AT_ONCE", 999)
    parts = with_detail(source, negative(source), mask, SPACING, DetailTransferSettings())
    np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 10, 1), (3, 3, 3), (1, 1, 1)])
def test_small_volumes(shape):
    rng = np.random.default_rng(3)
    source, translation = rng.random((2, *shape))
    inside, spacing = np.ones(shape, bool), (1.0, 2.0, 5.0)
    # Any source is mapped to the one value of a flat translation.
    flat = with_detail(source, np.full(shape, 0.3), inside, spacing, DetailTransferSettings())
    np.testing.assert_allclose(flat, np.full(shape, 0.3), atol=1e-3)
    found = with_detail(source, translation, inside, spacing, DetailTransferSettings())
    assert found.shape == shape
    assert translation.min() - 0.05 < found.min()
    assert found.max() < translation.max() + 0.05


@pytest.mark.parametrize("method", ["sdedit", "loss-guidance"])
def test_a_method_that_runs_the_model_of_another_does_without(method):
    assert api.load_translator("brain-t1-lmi", method).detail is None
    assert api.load_translator("brain-t1-lmi", method, detail=True).detail is not None


def test_a_model_says_whether_and_a_run_may_differ(tmp_path):
    plain = json.loads((models.SHIPPED / "brain-t1-lmi" / models.CONFIG).read_text())
    assert plain["settings"]["detail_transfer"] == {}
    assert api.load_translator("brain-t1-lmi").detail == DetailTransferSettings()
    assert api.load_translator("brain-t1-lmi", detail=False).detail is None
    assert api.load_translator("brain-t1").detail is None
    assert api.load_translator("brain-t1", detail=True).detail == DetailTransferSettings()
    for value, legal in (({"width": 3.0}, True), ({"width": -1}, False)):
        own = plain["settings"] | {"detail_transfer": value}
        (tmp_path / models.CONFIG).write_text(json.dumps(plain | {"settings": own}))
        if legal:
            assert api.load_translator(tmp_path).detail == DetailTransferSettings(width=3.0)
            assert api.load_translator(tmp_path, detail=False).detail is None
        else:
            with pytest.raises(CaseError, match=r"illegal settings\.detail_transfer\.width"):
                api.load_translator(tmp_path)
