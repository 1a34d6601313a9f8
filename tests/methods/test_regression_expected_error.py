"""The expected absolute error: its likelihood, its network, and the weights of the voxels."""

import json

import numpy as np
import pytest
import torch

from chiasm.errors import UsageError
from chiasm.guides import GuideSet, guide_from_config
from chiasm.image.intensity import IntensityMap
from chiasm.methods.regression.network import RegressionNetwork
from chiasm.methods.regression.objective import ErrorObjective, RegressionObjective, shifted
from chiasm.networks import NetworkSettings
from chiasm.phantom.appearance import CANONICAL
from chiasm.phantom.structures import index_of
from chiasm.training.batch import Batch
from chiasm.training.settings import training_settings

UNET = {"name": "unet", "arguments": {"features": [4, 4, 4, 4, 4, 4], "norm": "batch"}}


def network(learn_error, error_network=None):
    torch.manual_seed(0)
    guides = GuideSet([guide_from_config({"name": "source", "randomise": False})])
    settings = NetworkSettings.model_validate(UNET)
    errors = None if error_network is None else NetworkSettings.model_validate(error_network)
    return RegressionNetwork(
        settings, guides, spatial_dims=2, images=1, learn_error=learn_error, error_network=errors
    )


class Fixed(torch.nn.Module):
    """Gives the same image and expected error for every source."""

    intensity_mapping = None

    def __init__(self, output):
        super().__init__()
        self.output = torch.nn.Parameter(output)
        self.guides = type("Guides", (), {"randomised": False})

    def channels(self, source, seen=None, mapping=None):
        return source

    def estimate(self, channels):
        return self.output


def objective(output, **settings):
    words = [f"{name}={value}" for name, value in settings.items()]
    chosen = training_settings("regression", "T1w", None, tuple(words))
    return RegressionObjective(chosen, Fixed(output))


def batch(target, mask=None, structures=None):
    mask = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
    population = torch.linspace(0, 1, 8)[None].expand(len(target), -1)
    places = None if structures is None else torch.zeros_like(population, dtype=torch.uint8)
    return Batch(target, mask, population, structures=structures, places=places)


def test_the_second_channel_is_positive_and_small_before_the_training():
    made = network(True)(torch.rand((2, 1, 32, 32))).detach()
    assert made.shape == (2, 2, 32, 32)
    assert made[:, 1:].min() > 2e-3
    assert 0.02 < float(made[:, 1:].mean()) < 0.3
    assert network(False)(torch.rand((2, 1, 32, 32))).shape == (2, 1, 32, 32)


def test_the_expected_error_leaves_the_gradient_of_the_image_alone():
    target = torch.rand((2, 1, 6, 6))
    first = torch.rand((2, 2, 6, 6)) + 0.1
    gradients = []
    for learn, weight in ((False, 0), (True, 0.1), (True, 5)):
        one = objective(first.clone(), learn_error=str(learn).lower(), error_weight=weight)
        one.loss(batch(target), torch.Generator()).backward()
        gradients.append(one.module.output.grad)
    assert torch.equal(gradients[0][:, :1], gradients[1][:, :1])
    assert torch.equal(gradients[0][:, :1], gradients[2][:, :1])
    assert (gradients[0][:, 1:] == 0).all()
    torch.testing.assert_close(gradients[2][:, 1:], 50 * gradients[1][:, 1:])


def test_the_likelihood_is_least_where_the_error_is_as_expected():
    """Of the scale b of a Laplace distribution, |e| / b + log b is least at b = mean |e|."""
    errors = torch.tensor([0.1, 0.3, 0.2, 0.6])
    target = torch.full((1, 1, 1, 4), 0.9)
    image = target - errors.view(1, 1, 1, 4)
    best = float(errors.mean())

    def loss(scale):
        output = torch.cat([image, torch.full_like(image, scale)], dim=1)
        one = objective(output, learn_error="true", error_weight=1)
        return float(one.loss(batch(target), torch.Generator()).detach())

    assert loss(best) < min(loss(best * 0.97), loss(best * 1.03))
    assert loss(best) == pytest.approx(best + 1 + np.log(best), abs=1e-5)


def test_weights_of_brain_head_and_air():
    names = ("white matter", "cortex", "skin", "air")
    structures = torch.tensor([index_of(name) for name in names], dtype=torch.uint8)
    structures = structures.view(1, 1, 1, 4)
    mask = structures != 0
    errors = torch.tensor([0.1, 0.2, 0.4, 0.8])
    target = torch.zeros((1, 1, 1, 4))
    one = objective(errors.view(1, 1, 1, 4), head_weight=0.3, background_weight=0.05)
    loss = float(one.loss(batch(target, mask, structures), torch.Generator()))
    weights = np.array([1, 1, 0.3, 0.05])
    assert loss == pytest.approx(float((weights * errors.numpy()).sum() / weights.sum()))
    # Without structures, all of the foreground counts the same.
    loss = float(one.loss(batch(target, mask), torch.Generator()))
    weights = np.array([1, 1, 1, 0.05])
    assert loss == pytest.approx(float((weights * errors.numpy()).sum() / weights.sum()))


def test_a_batch_of_air_has_a_finite_loss():
    structures = torch.zeros((1, 1, 4, 4), dtype=torch.uint8)
    one = objective(torch.rand((1, 1, 4, 4)), background_weight=0)
    loss = one.loss(batch(torch.zeros((1, 1, 4, 4)), structures != 0, structures),
                    torch.Generator())  # fmt: skip
    loss.backward()
    assert float(loss) == 0
    assert torch.isfinite(one.module.output.grad).all()


def error_stage(**settings):
    words = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    words.append(f"error_network={json.dumps(UNET)}")
    chosen = training_settings("regression", "T1w", None, tuple(words))
    module = network(chosen.learn_error, UNET)
    return ErrorObjective(chosen.of_stage("error"), module)


@pytest.mark.parametrize("learn_error", [False, True])
def test_an_error_network_leaves_the_image_as_it_is(learn_error):
    """It replaces the expected error, and its training changes no weight of the image."""
    source = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    plain, module = network(learn_error).eval(), network(learn_error, UNET).eval()
    made = module(source).detach()
    assert made.shape == (2, 2, 32, 32)
    assert torch.equal(made[:, :1], plain(source)[:, :1])
    assert made[:, 1:].min() > 2e-3

    one = error_stage(learn_error=learn_error)
    before = {name: value.clone() for name, value in one.module.state_dict().items()}
    one.module.train()
    optimiser = torch.optim.SGD([w for w in one.module.parameters() if w.requires_grad], lr=0.1)
    one.loss(batch(source), torch.Generator().manual_seed(0)).backward()
    optimiser.step()
    changed = {
        n for n, value in one.module.state_dict().items() if not torch.equal(value, before[n])
    }
    assert changed
    assert all(name.startswith("error_network.") for name in changed)


@pytest.mark.parametrize("errors", [None, UNET])
def test_the_finished_model_scales_the_expected_error_alone(errors):
    source = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    one = network(True, errors).eval()
    plain = one(source).detach()
    one.error_scale = 0.5
    scaled = one(source).detach()
    assert torch.equal(scaled[:, :1], plain[:, :1])
    torch.testing.assert_close(scaled[:, 1:], plain[:, 1:] / 2)
    channels = one.channels(source)
    trained = one.estimate(channels)
    if errors is not None:
        trained = one.expected(channels, trained)
    assert torch.equal(trained.detach(), plain)  # the training learns without it


def test_the_error_network_learns_where_the_errors_are():
    """The image is always wrong on the left half, and the network must find that."""
    one = error_stage(learn_error=False)

    def wrong(channels):
        made = channels[:, :1] / 2 + 0.5
        made[..., :16] += 0.3
        return made

    one.module.estimate = wrong
    optimiser = torch.optim.Adam([w for w in one.module.parameters() if w.requires_grad], lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        target = torch.rand((4, 1, 32, 32), generator=generator)
        target[..., 16:] *= 0.2  # the halves look different, as borders look different from tissue
        optimiser.zero_grad()
        one.channels = lambda seen, _: seen.image * 2 - 1
        one.loss(batch(target), generator).backward()
        optimiser.step()
    with torch.no_grad():
        channels = target * 2 - 1
        expected = one.module.expected(channels, wrong(channels))[:, 1:]
    assert float(expected[..., :12].mean()) == pytest.approx(0.3, rel=0.2)
    assert float(expected[..., 20:].mean()) < 0.08


def test_a_shift_of_whole_voxels_moves_the_image_and_half_a_voxel_averages_two():
    image = torch.rand((2, 1, 6, 7), generator=torch.Generator().manual_seed(2))
    moved = shifted(image, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    torch.testing.assert_close(moved[0, 0, 1:], image[0, 0, :-1])
    torch.testing.assert_close(moved[1, 0, :, :-2], image[1, 0, :, 2:])
    half = shifted(image, torch.tensor([[0.5, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(half[0, 0, 1:], (image[0, 0, 1:] + image[0, 0, :-1]) / 2)
    torch.testing.assert_close(half[1], image[1])
    volume = torch.rand((1, 1, 4, 5, 6), generator=torch.Generator().manual_seed(3))
    moved = shifted(volume, torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(moved[0, 0, :, 1:], volume[0, 0, :, :-1])


def test_a_target_scan_is_acquired_and_misplaced_in_the_stage_error_alone():
    target = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(error_stage()._acquired(target, generator), target)
    noisy = error_stage(acquisition={"noise": 0.1, "blur": 0, "bias": 0, "gamma": 0})
    changed = noisy._acquired(target, generator)
    assert 0.005 < float((changed - target).abs().mean()) < 0.2
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    moved = error_stage(misplaced=1.0)._acquired(target, generator)
    assert not torch.equal(moved, target)
    one = error_stage(misplaced=1.0, acquisition={"noise": 0.1})
    first, again = (one.loss(batch(target), torch.Generator().manual_seed(5)) for _ in range(2))
    assert float(first) == pytest.approx(float(again), rel=1e-5)  # only the generator draws


def test_images_of_varied_contrast_are_laid_on_the_range_of_the_model():
    """Half of the places are white matter and half are CSF, whose canonical values are the ends."""
    heads = {"stripped": 1, "varied": True}
    one = error_stage(anatomies=heads, augmentation={"rotation": 0, "scale": 0, "crop": [16, 16]})
    kinds = [index_of("white matter"), index_of("csf")]
    low, high = sorted(CANONICAL["T1w"]()[kinds])
    target = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    places = torch.tensor([kinds * 50], dtype=torch.uint8)
    mask = torch.ones_like(target, dtype=torch.bool)
    seen = Batch(target, mask, torch.linspace(0, 1, 100)[None], places=places)
    laid = one._on_the_scale_of_the_model(seen).flatten().numpy()
    np.testing.assert_allclose(laid, low + (high - low) * np.array([0, 0.25, 1]), atol=1e-6)
    one = error_stage(anatomies={"stripped": 1}, augmentation={"rotation": 0, "scale": 0,
                                                               "crop": [16, 16]})  # fmt: skip
    assert torch.equal(one._on_the_scale_of_the_model(seen), target)


@pytest.mark.parametrize("word", ["misplaced=1", "acquisition={noise: 0.1}"])
def test_settings_of_the_error_network_need_one(word):
    with pytest.raises(UsageError, match="because there is no error_network"):
        training_settings("regression", "T1w", None, (word,))


def test_a_difference_has_the_width_of_the_map_and_no_offset():
    own = IntensityMap(low=100, high=900, units="a.u.", background=50)
    difference = own.difference()
    errors = np.array([0.0, 0.25, 1.0])
    np.testing.assert_allclose(difference.inverse(errors), [0, 200, 800])
    np.testing.assert_allclose(
        difference.inverse(errors), own.inverse(errors + 0.1) - own.inverse(np.full(3, 0.1)),
        atol=1e-4,
    )  # fmt: skip
    assert difference.background == 0
    assert difference.units == "a.u."
