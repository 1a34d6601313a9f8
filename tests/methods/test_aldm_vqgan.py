"""The VQ-GAN's codebook against MONAI's and the definition; there and back can be learned."""

import pytest
import torch
from monai.networks.layers.vector_quantizer import EMAQuantizer

from chiasm.methods.aldm.vqgan import VQGAN, Codebook

SHAPES = {2: (8, 12), 3: (8, 4, 12)}


def small(dims, **changes):
    chosen = {"channels": (6, 8), "codes": 16, "latent": 3} | changes
    return VQGAN(dims, 1, 1, **chosen)


@pytest.mark.parametrize("channels", [3, 12])  # by a tree, and by a product with all codes
@pytest.mark.parametrize("dims", SHAPES)
def test_every_latent_becomes_its_closest_code(dims, channels):
    torch.manual_seed(0)
    book = Codebook(dims, 11, channels).eval()
    z = torch.randn(2, channels, *SHAPES[dims])
    quantised, loss, indices = book(z)
    codes, flat = book.embedding.weight, z.movedim(1, -1)
    distance = (flat[..., None, :] - codes).square().sum(-1)
    assert torch.equal(indices, distance.argmin(-1))
    assert torch.allclose(quantised.movedim(1, -1), codes[distance.argmin(-1)], atol=1e-6)
    assert loss == pytest.approx(0.25 * distance.amin(-1).mean().item() / channels, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_no_error(bad):
    """The loss tells, and training says so in one line."""
    z = torch.full((1, 3, 4, 4), bad)
    _, loss, _ = Codebook(2, 11, 3).eval()(z)
    assert not loss.isfinite()


def test_learns_as_monai_does_where_every_code_is_used():
    torch.manual_seed(0)
    ours, theirs = Codebook(2, 4, 2, decay=0.9), EMAQuantizer(2, 4, 2, decay=0.9)
    theirs.load_state_dict(ours.state_dict())
    theirs.ema_w.zero_()
    ours.ema_w.zero_()
    z = torch.randn(8, 2, 16, 16)
    for book in (ours, theirs):
        book.train()
        book(z)
    used = theirs.ema_cluster_size > 0
    assert used.all()
    # MONAI smooths the counts (Laplace), which moves codes by about its epsilon.
    assert torch.allclose(ours.embedding.weight, theirs.embedding.weight, atol=1e-3)


def test_gradients_pass_straight_through():
    z = torch.randn(1, 3, 4, 4, requires_grad=True)
    quantised, _, _ = Codebook(2, 11, 3).eval()(z)
    quantised.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


def test_dead_codes_come_to_where_latents_are():
    torch.manual_seed(0)
    book = Codebook(2, 32, 2).train()
    book.ema_w.zero_()
    book.embedding.weight.data += 100  # far from all, so that all but one is dead
    z = torch.randn(4, 2, 16, 16)
    for _ in range(20):
        book(z)
    _, loss, indices = book.eval()(z)
    assert len(indices.unique()) > 24
    assert loss / book.commitment_cost < 0.3  # one code leaves the variance, 1


@pytest.mark.parametrize("dims", SHAPES)
def test_shapes(dims):
    network = small(dims).eval()
    x = torch.rand(2, 1, *SHAPES[dims])
    assert network.factor == network.divisible_by == 4
    assert network.encode(x).shape == (2, 3, *(n // 4 for n in SHAPES[dims]))
    assert network(x).shape == x.shape


@pytest.mark.parametrize("bad", [{"channels": ()}, {"codes": 0}, {"latent": 0}])
def test_illegal_sizes(bad):
    with pytest.raises(ValueError, match="at least 1"):
        small(2, **bad)
