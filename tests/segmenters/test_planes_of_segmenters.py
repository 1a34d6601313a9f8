"""A segmenter of slices that averages the labels' probabilities over several planes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from chiasm import models
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings, prepare, restore_labels
from chiasm.image.volume import Label, Volume
from chiasm.machine.device import Resources
from chiasm.segmenters.network import NetworkSegmenter

LABELS = (Label(0, "air", "#000000"), Label(1, "dark", "#112233"), Label(2, "bright", "#ffffff"))
AFFINES = {
    "plain": np.diag([2.0, 2, 2, 1]),
    "thick, flipped, permuted": np.array(
        [[0, -2, 0, 9], [0, 0, -3, 1], [2, 0, 0, -4], [0, 0, 0, 1.0]]
    ),
}


class ByLevel(torch.nn.Module):
    """Scores that depend on the level of a voxel and of its neighbours along the first axis."""

    divisible_by = 8

    def forward(self, image):
        near = functional.avg_pool2d(functional.pad(image, (0, 0, 2, 2)), (5, 1), 1)
        bright = 20 * (image + near - 1)
        return torch.cat([torch.full_like(image, -9), -bright, bright], dim=1)


def ball(affine=AFFINES["plain"], shape=(34, 36, 30)):
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = 300 + 100 * np.cos(3 * index[0]) + 100 * index[1] + 80 * np.sin(2 * index[2])
    head = np.sqrt((index**2).sum(0)) < 0.9
    return Volume(np.where(head, inside, 0), affine, modality="T1w"), head


def segmenter(**settings):
    config = models.ModelConfig(
        kind="segmenter",
        method="network",
        target="T1w",
        grid=GridSettings(spacing=(2.0, 2.0, None)),
        network={"name": "unet"},
        labels=[{"value": one.value, "name": one.name, "colour": one.colour} for one in LABELS],
        settings=settings,
    )
    model = models.Model("test", Path("test"), config)
    model.__dict__["module"] = ByLevel()
    return NetworkSegmenter(model, Resources(batch=7))


def test_the_result_is_the_most_probable_label_of_the_mean_of_three_planes():
    """By hand, on a grid where nothing is resampled."""
    volume, head = ball()
    made = segmenter(inference_planes="orthogonal").segment(volume, head)
    assert list(made.record["planes"]) == ["axial", "coronal", "sagittal"]
    low, high = np.percentile(volume.array[head], (0.5, 99.5))
    unit = np.clip((volume.array - low) / (high - low), 0, 1) * head
    total = np.zeros((3, *volume.shape))
    # The first axis of axial and coronal slices is R, that of sagittal slices is A.
    for along in (0, 0, 1):
        padded = np.pad(unit, [(2, 2) if k == along else (0, 0) for k in range(3)])
        windows = [padded.take(range(k, k + unit.shape[along]), along) for k in range(5)]
        bright = 20 * (unit + np.mean(windows, axis=0) - 1)
        scores = np.stack([np.full_like(unit, -9), -bright, bright])
        total += np.exp(scores) / np.exp(scores).sum(0)
    expected = np.where(head, total.argmax(0), 0)
    assert (made.labels.array != expected).mean() < 1e-4  # percentiles are of single precision
    one = segmenter().segment(volume, head)
    assert (one.labels.array != expected).mean() > 1e-3
    assert "planes" not in one.record


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize(
    ("shape", "planes"),
    [((34, 36, 30), ["axial", "coronal", "sagittal"]), ((34, 36, 19), ["axial"])],
)
def test_planes_that_show_little_are_left_out(name, shape, planes):
    """``shape`` counts voxels along R, A and S, whatever the order in which the axes are stored."""
    sizes = shape if name == "plain" else (shape[2], shape[0], shape[1])
    volume, head = ball(AFFINES[name], sizes)
    made = segmenter(inference_planes="orthogonal").segment(volume, head)
    assert list(made.record["planes"]) == planes
    assert made.labels.array[head].all()


def test_one_view_given_twice_changes_nothing():
    volume, head = ball()
    view = prepare(volume, GridSettings(spacing=(3.0, 3.0, None)), Context(), mask=head)
    samples = np.random.default_rng(0).random((view.samples().shape[0], 3, *view.image.shape[:2]))
    once = restore_labels([(view, samples)], LABELS)
    twice = restore_labels([(view, samples), (view, samples)], LABELS)
    np.testing.assert_array_equal(once.array, twice.array)
