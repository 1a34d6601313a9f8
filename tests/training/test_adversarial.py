"""The losses of both sides, against analytic critics and networks."""

import pytest
import torch
from torch import nn

from chiasm.errors import UsageError
from chiasm.methods.baselines.cyclegan.objective import CycleGANObjective
from chiasm.methods.baselines.cyclegan.translator import CycleGAN
from chiasm.training.adversarial import frozen
from chiasm.training.batch import Batch
from chiasm.training.settings import training_settings

WORDS = ("network.arguments.features=[4, 4, 4, 4, 4, 4]",)
WORDS += ("adversarial.critic={channels: 4, num_layers_d: 1}",)


def objective(*words):
    torch.manual_seed(0)
    chosen = training_settings("cyclegan", "T1w", None, (*WORDS, *words), ("PDw",))
    return CycleGANObjective(chosen, CycleGAN.build(chosen))


def batch(size=(32, 32), count=2):
    generator = torch.Generator().manual_seed(5)
    image, source = torch.rand((2, count, 1, *size), generator=generator)
    mask = torch.ones_like(image, dtype=torch.bool)
    return Batch(image, mask, image.flatten(1), None, source, mask)


def test_a_frozen_module_passes_gradients_on():
    layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.detach())
    assert layer.weight.requires_grad


def test_each_side_learns_from_its_own_loss_alone():
    one = objective()
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
    one = objective("adversarial.cycle=10", "adversarial.identity=5")
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


def test_a_critic_that_is_too_deep():
    deep = objective("adversarial.critic={channels: 2, num_layers_d: 6}")
    with pytest.raises(UsageError, match=r"num_layers_d 6.*too deep.*32, 32"):
        deep.begin(batch())


def test_arguments_that_no_critic_takes():
    with pytest.raises(UsageError, match=r"adversarial\.critic.*colour"):
        objective("adversarial.critic={colour: red}")


def test_cyclegan_with_neighbouring_slices():
    with pytest.raises(UsageError, match=r"context.*2\.5d.*2d or 3d"):
        objective("context={kind: 2.5d, neighbours: 1}")
