"""The gradient penalty and the losses of both sides, against analytic critics."""

import pytest
import torch
from torch import nn

import stylegan.method  # registers the method and its network  # noqa: F401
from chiasm.errors import UsageError
from chiasm.training.batch import Batch
from chiasm.training.settings import training_settings
from stylegan.objective import StyleGANObjective, gradient_penalty
from stylegan.translator import StyleGAN

WORDS = ("network.arguments={features: [6, 4], latent: 5}",)
WORDS += ("adversarial.critic={channels: 4, num_layers_d: 1}",)


def objective(*words):
    torch.manual_seed(0)
    chosen = training_settings("stylegan", "T1w", None, (*WORDS, *words), ())
    return StyleGANObjective(chosen, StyleGAN.build(chosen))


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


def test_each_side_learns_from_its_own_loss_alone():
    one = objective("adversarial.r1_every=1")
    generated, critical = one.losses(batch(), torch.Generator().manual_seed(0))
    sides = {"generator": [*one.module.parameters()], "critic": [*one.critics.parameters()]}
    for name, loss in (("generator", generated), ("critic", critical)):
        for side, parameters in sides.items():
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            reached = [gradient is not None for gradient in gradients]
            assert any(reached) == (side == name), (name, side)


def test_losses_of_stylegan_with_a_critic_that_is_known():
    one = objective("adversarial.r1=4", "adversarial.r1_every=1")
    k = torch.full((1, 32, 32), 0.01)
    one.critics["target"] = Linear(k)
    _, critic = one.losses(batch(), torch.Generator().manual_seed(0))
    rare = objective("adversarial.r1=4", "adversarial.r1_every=1000000")
    rare.critics["target"] = Linear(k)
    _, without = rare.losses(batch(), torch.Generator().manual_seed(0))
    assert (critic - without).item() == pytest.approx(4 / 2 * (2 * k).square().sum().item(), 1e-4)


def test_style_mixing_changes_latents_at_one_layer():
    one = objective()
    seen = []
    one.module.forward = lambda latents, *_: seen.append(latents) or latents
    for seed in range(20):
        one._made(batch(count=4), torch.Generator().manual_seed(seed))
    latents = torch.cat(seen)
    changes = (latents[:, 1:] != latents[:, :-1]).any(2).sum(1)
    assert set(changes.tolist()) == {0, 1}


def test_the_generator_knows_the_size_of_the_training_images():
    one = objective()
    one.begin(batch((32, 48)))
    assert one.module.size == (32, 48)
    assert one.settings.network["arguments"]["size"] == [32, 48]


def test_a_critic_that_is_too_deep():
    deep = objective("adversarial.critic={channels: 2, num_layers_d: 6}")
    with pytest.raises(UsageError, match=r"num_layers_d 6.*too deep.*32, 32"):
        deep.begin(batch())


def test_boxes_of_images_are_refused():
    with pytest.raises(UsageError, match=r"augmentation\.crop.*whole images"):
        objective("augmentation={crop: [16, 16], rotation: 0, scale: 0}")


def test_a_network_that_makes_no_image_of_latents():
    chosen = training_settings("stylegan", "T1w", None, ("network={name: unet}",))
    with pytest.raises(UsageError, match=r"unet.*style-generator"):
        StyleGAN.build(chosen)
