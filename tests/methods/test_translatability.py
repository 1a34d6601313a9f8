"""The score against networks whose answer is known, and against noise."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.metrics import normalized_mutual_information

from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.methods.translatability import translatability
from chiasm.phantom import Settings, subject


@dataclass
class Rule:
    """A translator whose network is a plain function of the source."""

    rule: object
    context: Context = field(default_factory=Context)
    translatable_from: float | None = None

    def __post_init__(self):
        grid = GridSettings(spacing=(None, None, None))
        config = SimpleNamespace(
            grid=grid, context=self.context, translatable_from=self.translatable_from
        )
        self.model = SimpleNamespace(config=config, module=torch.nn.Identity())
        self.model.module.divisible_by = 1
        self.resources = Resources(device="cpu")
        self.grids = {"own": grid}
        self.seen = []

    def fitted(self, source, head, translate):
        return self

    def run(self, source, places, on_step):
        self.seen.append((source, places))
        middle = source.shape[1] // 2
        return self.rule(source[:, middle : middle + 1])


def copy(image):
    return image


def distance_from_grey(image):
    """The same for an image and its negative."""
    return (image - 0.5).abs() * 2


def scan(shape=(24, 20, 30), seed=0):
    array = np.zeros(shape, dtype=np.float32)
    array[2:-2, 2:-2] = np.random.default_rng(seed).uniform(1, 2, array[2:-2, 2:-2].shape)
    return Volume(array, np.eye(4), modality="PDw"), array > 0


def test_a_network_that_follows_the_contrast_scores_nothing():
    found = translatability(scan()[0], Rule(copy), scan()[1])
    assert found.shared == pytest.approx(1, abs=1e-6)  # it shares everything
    assert found.agreement == pytest.approx(-1, abs=1e-3)
    assert found.score == 0


def test_a_network_that_does_not_scores_what_it_shares():
    volume, mask = scan()
    rule = Rule(distance_from_grey)
    found = translatability(volume, rule, mask, slices=30)
    unit = rule.seen[0][0].numpy()
    inside = unit > 0
    made = distance_from_grey(torch.from_numpy(unit)).numpy()
    pair = unit[inside], made[inside]
    expected = normalized_mutual_information(*pair, bins=16) - 1
    assert found.agreement == pytest.approx(1, abs=0.02)
    assert found.shared == pytest.approx(expected, abs=0.01)
    assert found.score == pytest.approx(found.shared * found.agreement)


def test_slices_lie_evenly_in_the_middle():
    volume, mask = scan()
    rule = Rule(distance_from_grey)
    assert translatability(volume, rule, mask, slices=4).slices == 4
    assert rule.seen[0][1] == [6, 12, 17, 23]
    assert rule.seen[0][0].shape == (4, 1, 24 - 4, 20 - 4)
    assert translatability(volume, rule, mask, slices=99).slices == 30


@pytest.mark.parametrize(
    "context", [Context(kind="2.5d", neighbours=1), Context(kind="3d")], ids=["2.5d", "3d"]
)
def test_in_any_context(context):
    volume, mask = scan()
    flat = translatability(volume, Rule(distance_from_grey), mask, slices=30)
    found = translatability(volume, Rule(distance_from_grey, context), mask, slices=30)
    assert found.score == pytest.approx(flat.score, abs=0.02)


def test_noise_lowers_it_step_by_step():
    one = subject(5, Settings(spacing=4.0, modalities=("T2w",)))
    image = one.volumes["T2w"]
    mask = one.labels.array > 0
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(image.shape) * image.array[mask].std() * mask

    def smoothed(source):  # a network that sees the neighbourhood
        return distance_from_grey(torch.nn.functional.avg_pool2d(source, 3, 1, 1))

    scores = [
        translatability(image.with_array(image.array + level * noise), Rule(smoothed), mask).score
        for level in (0, 0.2, 0.5, 1.0)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.5 * scores[0]


def test_the_models_own_limit_is_kept_beside_the_score():
    volume, mask = scan()
    assert translatability(volume, Rule(copy), mask).expected_from is None
    assert translatability(volume, Rule(copy, translatable_from=0.2), mask).expected_from == 0.2


def test_a_constant_translation_scores_nothing():
    assert translatability(scan()[0], Rule(torch.zeros_like), scan()[1]).score == 0
