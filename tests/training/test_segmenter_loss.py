"""The loss that compares what a frozen segmenter makes of a translation and of the real image."""

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr
from torch.nn import functional

from chiasm import models
from chiasm.errors import UsageError
from chiasm.guides import GuideSet, guide_from_config
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.methods.regression.network import RegressionNetwork
from chiasm.methods.regression.objective import RegressionObjective
from chiasm.networks import NetworkSettings
from chiasm.training.batch import Batch
from chiasm.training.segmenter_loss import SegmenterLoss, SegmenterLossSettings
from chiasm.training.settings import training_settings

UNET = {"name": "unet", "arguments": {"features": [4, 4, 4, 4, 4, 4], "norm": "batch"}}
LABELS = [{"value": k, "name": str(k), "colour": "#000000"} for k in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saves a segmenter with random weights, with changes of its config."""

    def save(**changes):
        torch.manual_seed(3)
        config = models.ModelConfig(
            **{
                "kind": "segmenter",
                "method": "network",
                "target": "T1w",
                "grid": GridSettings(spacing=(2.0, 2.0, None)),
                "network": UNET,
                "labels": LABELS,
            }
            | changes
        )
        made = tmp_path_factory.mktemp("segmenter")
        module = models.build(config).eval()
        with torch.no_grad():
            weight, bias = [*module.parameters()][-2:]
            scores = module(
                functional.avg_pool2d(torch.rand((4, config.context.images, 36, 36)), 5, 1)
            )
            bias -= scores.mean((0, 2, 3))
            for one in (weight, bias):
                one /= scores.std((0, 2, 3)).mean()  # so that no label has all voxels
        models.save(made, config, module, "")
        return made

    return save


def settings(model, *words):
    return training_settings(
        "regression", "T1w", None, (f"segmenter_loss={json.dumps({'model': str(model)})}", *words)
    )


def batch(images=1, seed=0):
    torch.manual_seed(seed)
    image = functional.avg_pool2d(torch.rand((2, images, 36, 36)), 5, 1) * 3 - 1
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 4:28, 2:30] = True
    population = torch.linspace(0.1, 0.9, 401)[None] * torch.tensor([[1.0], [0.8]])
    return Batch(image * mask, mask, population)


def by_hand(network, batch, made, images=1):
    """The mean divergence, with the percentiles and logarithms of other libraries."""
    real = batch.image.numpy().copy()
    middle, beside = real.shape[1] // 2, images // 2
    mixed = real.copy()
    inside = batch.mask.numpy()[:, middle]
    mixed[:, middle][inside] = made.numpy()[:, 0][inside]
    total = 0.0
    for one in range(len(real)):
        low, high = np.percentile(batch.population[one].numpy(), (0.5, 99.5))
        logs = []
        for image in (real, mixed):
            seen = (image[one, middle - beside : middle + beside + 1] - low) / (high - low)
            with torch.no_grad():
                scores = network(torch.from_numpy(seen[None]).float())[0]
            logs.append(log_softmax(scores.double().numpy(), axis=0))
        true, found = (np.exp(one) for one in logs)
        total += rel_entr(true, found).sum(0)[inside[one]].sum()
    return total / inside.sum()


@pytest.mark.parametrize("images", [1, 3])
def test_it_is_the_divergence_of_the_label_probabilities_in_the_foreground(folder, images):
    """A segmenter of single slices, and one of three, in the training of a translator of five."""
    context = Context(kind="2.5d", neighbours=images // 2) if images > 1 else Context()
    saved = folder(context=context)
    chosen = settings(saved, "context={kind: 2.5d, neighbours: 2}")
    loss = SegmenterLoss(chosen.segmenter_loss, chosen)
    seen = batch(5)
    made = torch.rand((2, 1, 32, 32))
    expected = by_hand(loss.network, seen, made, images)
    assert expected > 1e-2
    np.testing.assert_allclose(float(loss(made, seen)), expected, rtol=1e-3)


def test_the_real_image_costs_nothing_and_the_outside_does_not_count(folder):
    chosen = settings(folder())
    loss, seen = SegmenterLoss(chosen.segmenter_loss, chosen), batch()
    assert float(loss(seen.centre, seen)) == pytest.approx(0, abs=1e-7)
    outside = torch.where(seen.centre_mask, seen.centre, torch.rand((2, 1, 32, 32)))
    assert float(loss(outside, seen)) == pytest.approx(0, abs=1e-7)


def test_the_gradient_reaches_the_translation_and_changes_no_weight_of_the_segmenter(folder):
    chosen = settings(folder())
    loss, seen = SegmenterLoss(chosen.segmenter_loss, chosen), batch()
    made = torch.rand((2, 1, 32, 32), requires_grad=True)
    before = {name: one.clone() for name, one in loss.network.state_dict().items()}
    first = loss(made, seen)
    (gradient,) = torch.autograd.grad(first, made)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        assert loss(made - 0.1 * gradient / gradient.norm(), seen) < first
    assert all(one.grad is None for one in loss.network.parameters())
    for name, one in loss.network.state_dict().items():
        assert torch.equal(one, before[name]), name


def test_regression_adds_it_to_its_own_loss(folder):
    saved = folder()
    words = ('network={"name": "unet", "arguments": {"features": [4, 4, 4, 4, 4, 4]}}',)
    losses = []
    for weight in (None, 0.2):
        told = "null" if weight is None else json.dumps({"model": str(saved), "weight": weight})
        chosen = training_settings("regression", "T1w", None, (*words, f"segmenter_loss={told}"))
        torch.manual_seed(1)
        module = network_of(chosen)
        one = RegressionObjective(chosen, module)
        with torch.no_grad():
            losses.append(float(one.loss(batch(), torch.Generator().manual_seed(5))))
            made = module.estimate(one.channels(batch(), torch.Generator().manual_seed(5)))
    divergence = float(SegmenterLoss(chosen.segmenter_loss, chosen)(made, batch()))
    assert losses[1] - losses[0] == pytest.approx(0.2 * divergence, rel=1e-4)


def network_of(chosen):
    guides = GuideSet([guide_from_config(one) for one in chosen.guides])
    network = NetworkSettings.model_validate(chosen.network)
    return RegressionNetwork(network, guides, chosen.intensity_mapping, spatial_dims=2, images=1)


@pytest.mark.parametrize(
    ("changes", "problem", "legal"),
    [
        ({"target": "T2w"}, "labels T2w", "a segmenter of T1w"),
        ({"grid": GridSettings(spacing=(1.0, 1.0, 1.0))}, "voxels of [1.0, 1.0, 1.0]", "[2.0, 2.0"),
        ({"context": Context(kind="2.5d", neighbours=1)}, "sees 3 slices", "at most 1"),
    ],
)
def test_a_segmenter_that_does_not_fit(folder, changes, problem, legal):
    with pytest.raises(UsageError) as error:
        settings(folder(**changes))
    assert all(part in str(error.value) for part in ("segmenter_loss.model", problem, legal))


def test_a_segmenter_that_does_not_exist():
    with pytest.raises(UsageError, match=r"segmenter_loss.model.*is not a model"):
        settings("nothing")
    with pytest.raises(UsageError, match=r"segmenter_loss.model.*is a translator"):
        settings("brain-t1")
    with pytest.raises(ValueError, match="weight"):
        SegmenterLossSettings(model="brain-t1-tissue", weight=0)
