"""Modulated convolution against its definition, and a generator of any size."""

import pytest
import torch
from torch.nn import functional

import stylegan.method  # registers the network  # noqa: F401
from chiasm.errors import UsageError
from chiasm.networks import NetworkSettings
from stylegan.generator import ModulatedConvolution, StyleGenerator

CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}


def one_by_one(layer, x, latent):
    """Each sample convolved with weights of its own, as Karras et al. (2020) define them."""
    results = []
    for image, w in zip(x, latent, strict=True):
        affine = layer.style
        style = affine.weight @ w * affine.scale + affine.bias * affine.rate
        weight = layer.weight * layer.scale
        weight = torch.stack([weight[:, i] * style[i] for i in range(weight.shape[1])], dim=1)
        if layer.demodulate:
            weight = torch.stack([one / (one.square().sum() + 1e-8).sqrt() for one in weight])
        padding = weight.shape[-1] // 2
        results.append(CONVOLVE[image.ndim - 1](image[None], weight, padding=padding))
    return torch.cat(results)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(("dims", "kernel"), [(2, 3), (2, 1), (3, 3)])
def test_modulated_convolution_is_that_of_each_samples_own_weights(dims, kernel, demodulate):
    torch.manual_seed(0)
    layer = ModulatedConvolution(dims, 3, 4, 5, kernel_size=kernel, demodulate=demodulate).double()
    x, latent = torch.randn(2, 3, *(6, 5, 4)[:dims]).double(), torch.randn(2, 5).double()
    torch.testing.assert_close(layer(x, latent), one_by_one(layer, x, latent))


def test_demodulation_gives_unit_variance():
    torch.manual_seed(0)
    layer = ModulatedConvolution(2, 6, 4, 5)
    noise, latents = torch.randn(3, 6, 160, 160), 4 * torch.randn(3, 5)
    with torch.no_grad():
        out = layer(noise, latents)[..., 1:-1, 1:-1]
        layer.demodulate = False
        raw = layer(noise, latents)
    torch.testing.assert_close(out.std((2, 3)), torch.ones(3, 4), rtol=0, atol=0.04)
    assert (raw.std((2, 3)) - 1).abs().max() > 0.5  # the styles would have changed it


@pytest.mark.parametrize("size", [(8, 12), (16, 16), (8, 12, 4)])
def test_one_set_of_weights_makes_images_of_any_size(size):
    torch.manual_seed(0)
    generator = StyleGenerator(len(size), 1, features=(8, 6, 4), latent=5, mapping=2, cells=3)
    assert (generator.divisible_by, generator.layers) == (4, 5)
    w = generator.map(torch.randn(2, 5))
    latents = w[:, None].expand(2, 5, 5)
    image = generator(latents, size)
    assert image.shape == (2, 1, *size)
    assert not torch.allclose(image[0], image[1])
    torch.testing.assert_close(generator(latents, size), image)  # no noise unless it is drawn


def test_noise_is_that_of_its_generator():
    torch.manual_seed(0)
    generator = StyleGenerator(2, 1, features=(4, 4), latent=3)
    latents = generator.map(torch.randn(1, 3))[:, None].expand(1, 3, 3)

    def made(seed):
        return generator(latents, (8, 8), torch.Generator().manual_seed(seed))

    torch.testing.assert_close(made(1), made(2))  # its strength is learned, and starts at 0
    for layer in generator.convolutions:
        torch.nn.init.ones_(layer.strength)
    torch.testing.assert_close(made(1), made(1))
    assert not torch.allclose(made(1), made(2))


def test_the_mapping_sees_directions_alone():
    torch.manual_seed(0)
    generator = StyleGenerator(2, 1, features=(4,), latent=6)
    z = torch.randn(4, 6)
    torch.testing.assert_close(generator.map(7 * z), generator.map(z))


def test_a_size_that_cannot_be_made():
    generator = StyleGenerator(2, 1, features=(4, 4, 4), latent=3)
    with pytest.raises(ValueError, match="multiple of 4"):
        generator(torch.zeros(1, 5, 3), (8, 10))


@pytest.mark.parametrize(
    ("images", "arguments", "said"),
    [(1, {}, "takes no image"), (0, {"features": []}, "at least 1"), (0, {"depth": 3}, "depth")],
)
def test_what_cannot_be_built(images, arguments, said):
    with pytest.raises(UsageError, match=said):
        NetworkSettings(name="style-generator", arguments=arguments).build(2, images, 1)
