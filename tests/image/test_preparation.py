"""A volume through the network's door and back."""

import json

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.context import Context
from chiasm.image.grid import Grid
from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings, prepare, restore_labels
from chiasm.image.volume import TISSUES, Volume

AFFINES = {
    "plain": np.diag([2.0, 2, 2, 1]),
    "flipped, permuted": np.array([[0, -2, 0, 9], [0, 0, -3, 1], [2, 0, 0, -4], [0, 0, 0, 1.0]]),
    "oblique": np.array([[1.9, 0.5, 0, 3], [-0.5, 1.9, 0.2, 5], [0.1, -0.2, 2.5, 7], [0, 0, 0, 1]]),
    "sheared": np.array([[2, 0.4, 0, 0], [0, 2, 0.3, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]]),
}


def ball(shape=(40, 36, 30), affine=AFFINES["plain"], modality="T2w"):
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    radius = np.sqrt((index**2).sum(0))
    inside = 300 + 200 * np.cos(3 * index[0]) + 100 * index[1]
    return Volume(np.where(radius < 0.85, inside, 0), affine, modality=modality)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("spacing", [(2.0, 2.0, None), (3.0, 3.0, 3.0)])
def test_the_image_comes_back_on_its_own_grid(name, spacing):
    volume = ball(affine=AFFINES[name])
    settings = GridSettings(spacing=spacing)
    prepared = prepare(volume, settings, Context(), divisible_by=8)
    assert all(n % 8 == 0 for n in prepared.image.shape[:2])
    target = IntensityMap(
        low=prepared.intensity.low, high=prepared.intensity.high, units="a.u.", background=-7.0
    )
    back = prepared.restore(prepared.samples(), target, "T1w")
    assert back.shape == volume.shape
    np.testing.assert_array_equal(back.affine, volume.affine)
    assert back.modality == "T1w"
    assert (back.array[~prepared.mask] == -7).all()
    core = prepared.mask & (np.abs(volume.array - 300) < 200)
    error = np.abs(back.array - volume.array)[core]
    assert np.median(error) < 12
    assert np.median(np.abs(volume.array[core] - np.median(volume.array[core]))) > 60


@pytest.mark.parametrize("name", AFFINES)
def test_the_border_of_the_head_is_not_mixed_with_background(name):
    """All of a bright head comes back bright, whatever the network's coarser lattice cuts."""
    volume = ball(affine=AFFINES[name])
    prepared = prepare(volume, GridSettings(spacing=(5.0, 5.0, None)), Context())
    target = IntensityMap(low=0, high=100, units="a.u.", background=-50.0)
    back = prepared.restore(np.ones_like(prepared.samples()), target, "T1w")
    np.testing.assert_allclose(back.array[prepared.mask], 100, atol=1e-3)
    assert (back.array[~prepared.mask] == -50).all()


def test_labels_come_back_by_the_most_probable():
    volume = ball()
    prepared = prepare(volume, GridSettings(spacing=(4.0, 4.0, None)), Context())
    level = prepared.image
    truth = np.where(prepared.foreground, 1 + (level > 0.5), 0)
    labels = TISSUES[:3]
    one_hot = np.stack([truth == k for k in range(3)]).astype(np.float32)
    samples = np.moveaxis(one_hot, -1, 0)
    back = restore_labels([(prepared, samples)], labels)
    assert back.shape == volume.shape
    assert set(np.unique(back.array)) == {0, 1, 2}
    assert (back.array[~prepared.mask] == 0).all()
    again = prepared.grid.apply(back.array, labels=True)
    assert (again == truth)[prepared.foreground].mean() > 0.95


def test_only_slices_with_a_head_are_given_to_the_network():
    volume = ball()
    prepared = prepare(volume, GridSettings(spacing=(2.0, 2.0, None)), Context())
    shown = int(prepared.mask.any(axis=(0, 1)).sum())
    assert len(prepared.slice_indices()) == shown
    assert 0 < shown < volume.shape[2]


def test_the_record_repeats_the_geometry():
    prepared = prepare(ball(affine=AFFINES["oblique"]), GridSettings(spacing=(3, 3, 3)), Context())
    record = json.loads(json.dumps(prepared.record()))
    grid = Grid.model_validate(record["grid"])
    array = np.random.default_rng(0).random(prepared.volume.shape).astype(np.float32)
    np.testing.assert_array_equal(grid.apply(array), prepared.grid.apply(array))
    intensity = IntensityMap.model_validate(record["intensity"])
    values = np.linspace(-5, 900, 50)
    np.testing.assert_allclose(
        intensity.inverse(intensity.forward(values)), values, rtol=1e-5, atol=1e-3
    )


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(CaseError, match=r"--mask.*shape"):
        prepare(ball(), GridSettings(spacing=(2, 2, None)), Context(), mask=np.ones((3, 3, 3)))
