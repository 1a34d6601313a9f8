"""The gradient penalty and the losses of both sides, against analytic critics and networks."""

import pytest
import torch
from torch import nn

from chiasm.errors import UsageError
from chiasm.training.adversarial import frozen, gradient_penalty
from chiasm.training.cyclegan import CycleGANObjective
from chiasm.training.data import Batch
from chiasm.training.settings import training_settings
from chiasm.training.stylegan import StyleGANObjective
from chiasm.translators.cyclegan import CycleGAN
from chiasm.translators.stylegan import StyleGAN

CRITIC = "adversarial.critic={channels: 4, num_layers_d: 1}"
WORDS = {
    "stylegan": ("network.arguments={features: [6, 4], latent: 5}", CRITIC),
    "cyclegan": ("network.arguments.features=[4, 4, 4, 4, 4, 4]", CRITIC),
}
KINDS = {"stylegan": (StyleGANObjective, StyleGAN), "cyclegan": (CycleGANObjective, CycleGAN)}


def objective(method, *words, sources=("PDw",)):
    torch.manual_seed(0)
    chosen = training_settings(
        method, "T1w", None, (*WORDS[method], *words), sources if method == "cyclegan" else ()
    )
    kind, translator = KINDS[method]
    return kind(chosen, translator.build(chosen))


def batch(size=(32, 32), count=2):
    generator = torch.Generator().manual_seed(5)
    image, source = torch.rand((2, count, 1, *size), generator=generator)
    mask = torch.ones_like(image, dtype=torch.bool)
    return Batch(image, mask, image.flatten(1), None, source, mask)


class Linear(nn.Module):
    """⟨k, x⟩ on each of two patches, k and 3 k: on average ⟨2 k, x⟩."""

    def __init__(self, k):
        super().__init__()
        self.k = nn.Parameter(k)

    def forward(self, x):
        one = (x * self.k).flatten(1).sum(1)
        return [x, torch.stack([one, 3 * one], dim=1)]


class Quadratic(nn.Module):
    """½ c |x|², whose gradient is c x."""

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return [self.c / 2 * x.square().flatten(1).sum(1, keepdim=True)]


def test_gradient_penalty_of_a_linear_critic():
    k = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(1))
    penalty = gradient_penalty(Linear(k), torch.rand(3, 1, 4, 5))
    torch.testing.assert_close(penalty, (2 * k).square().sum())


def test_gradient_penalty_of_a_quadratic_critic_and_its_own_gradient():
    critic, x = Quadratic(), torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(2))
    penalty = gradient_penalty(critic, x)
    power = x.square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty, 1.5**2 * power)
    penalty.backward()
    torch.testing.assert_close(critic.c.grad, 2 * 1.5 * power)


def test_a_frozen_module_passes_gradients_on():
    layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.detach())
    assert layer.weight.requires_grad


@pytest.mark.parametrize("method", KINDS)
def test_each_side_learns_from_its_own_loss_alone(method):
    one = objective(method, "adversarial.r1_every=1")
    maker, critic = one.losses(batch(), torch.Generator().manual_seed(0))
    sides = {
        "maker": [*one.module.parameters(), *one.helpers.parameters()],
        "critic": [*one.critics.parameters()],
    }
    for name, loss in (("maker", maker), ("critic", critic)):
        for side, parameters in sides.items():
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            reached = [gradient is not None for gradient in gradients]
            assert any(reached) == (side == name), (name, side)


class Constant(nn.Module):
    """A critic that says the same of every image."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, x):
        return [x, x.new_full((len(x), 1, 3, 3), self.score)]


def test_losses_of_cyclegan_with_networks_that_are_known():
    """G doubles, F adds 0.1, on images of 1: both ways round 1 off, and so forth."""
    one = objective("cyclegan", "adversarial.cycle=10", "adversarial.identity=5")
    one.module = lambda x: 2 * x
    one.back = lambda x: x + 0.1
    for side, score in (("target", 0.2), ("source", 0.7)):
        one.critics[side] = Constant(score)
    ones = torch.ones(2, 1, 32, 32)
    batch = Batch(ones, ones > 0, ones.flatten(1), None, ones, ones > 0)
    maker, critic = one.losses(batch, torch.Generator())
    cycle = abs((2 + 0.1) - 1) + abs(2 * (1 + 0.1) - 1)
    identity = abs((1 + 0.1) - 1) + abs(2 * 1 - 1)
    fooled = (0.2 - 1) ** 2 + (0.7 - 1) ** 2
    assert maker.item() == pytest.approx(10 * cycle + 5 * identity + fooled, rel=1e-5)
    judged = ((0.2 - 1) ** 2 + 0.2**2 + (0.7 - 1) ** 2 + 0.7**2) / 2
    assert critic.item() == pytest.approx(judged, rel=1e-5)
    assert one.validation_loss(batch, torch.Generator()).item() == pytest.approx(cycle, rel=1e-5)


def test_losses_of_stylegan_with_a_critic_that_is_known():
    one = objective("stylegan", "adversarial.r1=4", "adversarial.r1_every=1")
    k = torch.full((1, 32, 32), 0.01)
    one.critics["target"] = Linear(k)
    _, critic = one.losses(batch(), torch.Generator().manual_seed(0))
    rare = objective("stylegan", "adversarial.r1=4", "adversarial.r1_every=1000000")
    rare.critics["target"] = Linear(k)
    _, without = rare.losses(batch(), torch.Generator().manual_seed(0))
    assert (critic - without).item() == pytest.approx(4 / 2 * (2 * k).square().sum().item(), 1e-4)


def test_style_mixing_changes_latents_at_one_layer():
    one = objective("stylegan")
    seen = []
    one.module.forward = lambda latents, *_: seen.append(latents) or latents
    for seed in range(20):
        one._made(batch(count=4), torch.Generator().manual_seed(seed))
    latents = torch.cat(seen)
    changes = (latents[:, 1:] != latents[:, :-1]).any(2).sum(1)
    assert set(changes.tolist()) == {0, 1}


def test_the_generator_knows_the_size_of_the_training_images():
    one = objective("stylegan")
    one.begin(batch((32, 48)))
    assert one.module.size == (32, 48)
    assert one.settings.network["arguments"]["size"] == [32, 48]


@pytest.mark.parametrize("method", KINDS)
def test_a_critic_that_is_too_deep(method):
    deep = objective(method, "adversarial.critic={channels: 2, num_layers_d: 6}")
    with pytest.raises(UsageError, match=r"num_layers_d 6.*too deep.*32, 32"):
        deep.begin(batch())


@pytest.mark.parametrize("method", KINDS)
def test_arguments_that_no_critic_takes(method):
    with pytest.raises(UsageError, match=r"adversarial\.critic.*colour"):
        objective(method, "adversarial.critic={colour: red}")


def test_cyclegan_with_neighbouring_slices():
    with pytest.raises(UsageError, match=r"context.*2\.5d.*2d or 3d"):
        objective("cyclegan", "context={kind: 2.5d, neighbours: 1}")


def test_a_network_that_makes_no_image_of_latents():
    chosen = training_settings("stylegan", "T1w", None, ("network={name: unet}",))
    with pytest.raises(UsageError, match=r"unet.*style-generator"):
        StyleGAN.build(chosen)
