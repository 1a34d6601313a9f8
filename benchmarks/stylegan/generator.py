"""A style-based generator of images of any size (Karras et al., CVPR 2019 and 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from chiasm.networks.unet import MEMORY_FORMATS

_LINEAR = {2: "bilinear", 3: "trilinear"}
_CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
# Learning rate of the mapping network, as a share of the others'. It is 0.01 in trainings of weeks.
_MAPPING_RATE = 0.1


def _activate(x: Tensor) -> Tensor:
    """Leaky ReLU, scaled so that the variance stays about 1."""
    return functional.leaky_relu(x, 0.2) * 2**0.5


class _Linear(nn.Module):
    """A linear layer with an equalised learning rate (Karras et al., ICLR 2018)."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate = rate
        self.scale = rate / inputs**0.5

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias * self.rate)


class ModulatedConvolution(nn.Module):
    """A convolution whose weights are scaled by a latent (Karras et al., CVPR 2020, eq. 1 to 3).

    With the style s = affine(latent), a sample's weights are w'_oik = s_i w_oik. Demodulated, they
    are w''_oik = w'_oik / √(Σ_ik w'_oik² + 1e-8), which keeps unit variance. Here the channels of
    the input are scaled by s and those of the output by the inverse root. This is equivalent, and
    all samples of a batch share one convolution.

    Parameters
    ----------
    spatial_dims : int
        2 or 3.
    in_channels, out_channels, latent : int
    kernel_size : int
        An odd number.
    demodulate : bool
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        latent: int,
        *,
        kernel_size: int = 3,
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        kernel = (kernel_size,) * spatial_dims
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))
        self.scale = (in_channels * kernel_size**spatial_dims) ** -0.5
        self.style = _Linear(latent, in_channels, bias=1.0)
        self.demodulate = demodulate

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """(B, in_channels, \\*spatial), (B, latent) → (B, out_channels, \\*spatial)."""
        dims = x.ndim - 2
        per_channel = (len(x), -1, *(1,) * dims)
        style = self.style(latent)
        weight = self.weight * self.scale
        y = _CONVOLVE[dims](x * style.view(per_channel), weight, padding=weight.shape[-1] // 2)
        if not self.demodulate:
            return y
        power = style.square() @ weight.square().flatten(2).sum(2).T
        return y * (power + 1e-8).rsqrt().view(per_channel)


class _Layer(nn.Module):
    """Modulated convolution, noise with a learned strength, bias and activation."""

    def __init__(self, dims: int, in_channels: int, out_channels: int, latent: int) -> None:
        super().__init__()
        self.convolution = ModulatedConvolution(dims, in_channels, out_channels, latent)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(1, out_channels, *(1,) * dims))

    def forward(self, x: Tensor, latent: Tensor, generator: torch.Generator | None) -> Tensor:
        x = self.convolution(x, latent)
        if generator is not None:
            noise = torch.randn((len(x), 1, *x.shape[2:]), generator=generator)
            x = x + self.strength * noise.to(x.device)
        return _activate(x + self.bias)


class StyleGenerator(nn.Module):
    """Mapping network and synthesis network. Every level but the first doubles the size.

    The synthesis starts from a learned constant. It is interpolated to the image's size, so that
    the same weights make images of any size that is a multiple of `divisible_by`.

    Parameters
    ----------
    spatial_dims, out_channels : int
    features : sequence of int
        Channels of the levels, coarsest level first.
    latent : int
        Length of z and w.
    mapping : int
        The number of layers of the mapping network.
    cells : int
        The size of the learned constant along each axis.
    size : sequence of int, optional
        Spatial size to which the training images were padded at their ends.

    Raises
    ------
    ValueError
        A number is less than 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        *,
        features: Sequence[int] = (128, 128, 96, 64, 32),
        latent: int = 128,
        mapping: int = 4,
        cells: int = 8,
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(features) < 1 or min(latent, mapping, cells, *features) < 1:
            raise ValueError("features, latent, mapping and cells must be at least 1")
        self.latent = latent
        self.size = None if size is None else tuple(size)
        self.divisible_by = 2 ** (len(features) - 1)
        self.layers = 2 * len(features) - 1
        self.mapping = nn.ModuleList(
            _Linear(latent, latent, rate=_MAPPING_RATE) for _ in range(mapping)
        )
        self.constant = nn.Parameter(torch.randn(1, features[0], *(cells,) * spatial_dims))
        self.convolutions = nn.ModuleList([_Layer(spatial_dims, features[0], features[0], latent)])
        for before, after in pairwise(features):
            self.convolutions.append(_Layer(spatial_dims, before, after, latent))
            self.convolutions.append(_Layer(spatial_dims, after, after, latent))
        self.to_image = nn.ModuleList(
            ModulatedConvolution(
                spatial_dims, channels, out_channels, latent, kernel_size=1, demodulate=False
            )
            for channels in features
        )

    def map(self, z: Tensor) -> Tensor:
        """Map z, drawn from a normal distribution, to w; both are (B, latent)."""
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = _activate(layer(w))
        return w

    def forward(
        self,
        latents: Tensor,
        size: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Make images from latents.

        Parameters
        ----------
        latents : Tensor, shape (B, layers, latent)
            w+, one latent for each convolution.
        size : sequence of int, optional
            Spatial size; the default is the size of the training images.
        generator : torch.Generator, optional
            Generator of the noise inputs, on the CPU. Without it there is no noise.

        Returns
        -------
        Tensor, shape (B, out_channels, \\*size)
            About [0, 1].

        Raises
        ------
        ValueError
            The size is not a multiple of `divisible_by`, or is not known.
        """
        size = self.size if size is None else size
        if size is None or any(n % self.divisible_by for n in size):
            raise ValueError(f"size {size} must be a multiple of {self.divisible_by}")
        mode = _LINEAR[len(size)]
        coarse = [n // self.divisible_by for n in size]
        constant = functional.interpolate(self.constant, coarse, mode=mode, align_corners=True)
        x = constant.expand(len(latents), *constant.shape[1:])
        x = self.convolutions[0](x, latents[:, 0], generator)
        image = self.to_image[0](x, latents[:, 0])
        for level in range(1, len(self.to_image)):
            x, image = (
                functional.interpolate(one, scale_factor=2, mode=mode) for one in (x, image)
            )
            for layer in (2 * level - 1, 2 * level):
                x = self.convolutions[layer](x, latents[:, layer], generator)
            image = image + self.to_image[level](x, latents[:, 2 * level])
        return image.float() / 2 + 0.5


def style_generator(
    spatial_dims: int, in_channels: int, out_channels: int, **arguments: Any
) -> nn.Module:
    """A `StyleGenerator`. It has no input image, so ``in_channels`` must be 0."""
    if in_channels:
        raise ValueError("style-generator takes no image and is for the method stylegan alone")
    generator = StyleGenerator(spatial_dims, out_channels, **arguments)
    # torch documents this argument, but its types leave it out.
    return generator.to(memory_format=MEMORY_FORMATS[spatial_dims])  # type: ignore[call-overload]
