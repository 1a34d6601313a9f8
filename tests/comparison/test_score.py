"""The row of one method on one case."""

from dataclasses import dataclass

import numpy as np
import pytest

from chiasm.comparison.cases import Case, Complete
from chiasm.comparison.methods import Candidate, load_methods
from chiasm.comparison.score import score
from chiasm.image.foreground import foreground_mask
from chiasm.phantom import Settings, subject
from chiasm.segmenters.load import load_segmenter


@dataclass(frozen=True)
class ThreeSlices(Candidate):
    """A method that says whether it looks at neighbouring slices."""

    looks: bool = True

    @property
    def reads_more_than_slices(self):
        return self.looks


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter()


@pytest.fixture(scope="module")
def case(segmenter):
    brain = subject(3, Settings(modalities=("T1w", "T2w"), spacing=4))
    mask = foreground_mask(brain.volumes["T1w"])
    complete = Complete(brain.volumes["T2w"], mask, 2, range(12, 30, 6))
    source, real, truth = map(
        complete.slices, (brain.volumes["T2w"], brain.volumes["T1w"], brain.labels)
    )
    inside = mask[:, :, complete.kept]
    labels = segmenter.segment(real, inside).labels
    return Case("1", source, real, inside, labels, truth, adjacent=False, complete=complete)


def test_who_reads_more_than_slices_is_given_the_scan_and_scored_on_the_slices(
    case, segmenter, monkeypatch
):
    (floor,) = load_methods(["none"], segmenter)
    process, shapes = type(floor.pipeline).process, []

    def recorded(self, source, mask):
        shapes.append((source.shape, mask.shape))
        return process(self, source, mask)

    monkeypatch.setattr(type(floor.pipeline), "process", recorded)
    alone = score(case, ThreeSlices(floor.name, floor.pipeline, looks=False))
    beside = score(case, ThreeSlices(floor.name, floor.pipeline))
    assert shapes == [(case.source.shape,) * 2, (case.complete.source.shape,) * 2]
    for one in (alone, beside):
        assert one.image.same_grid(case.source)
        assert one.labels.same_grid(case.source)
    # The same voxels are copied either way, and the percentiles of the scan differ a little from
    # those of its slices.
    np.testing.assert_allclose(
        case.on_unit_range(beside.image).array, case.on_unit_range(alone.image).array, atol=0.02
    )
    for key in ("psnr", "ssim", "mae"):
        assert beside.row[key] == pytest.approx(alone.row[key], rel=0.02)
    slices = int(case.complete.mask.any(axis=(0, 1)).sum())
    assert beside.row["seconds_per_slice"] * slices == pytest.approx(beside.row["seconds"])
    assert alone.row["seconds_per_slice"] * 3 == pytest.approx(alone.row["seconds"])
