"""Contrast randomisation: a target image with the contrast of an arbitrary modality.

In use, the guide is computed from a modality in which the order of tissue brightness is unknown.
Random contrasts prepare the network for this in training. The idea comes from SynthSeg (Billot
2023), but it is applied to a real or simulated image instead of a label map, so that no labels
are needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.networks.layers import GaussianFilter
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional


class ContrastSettings(BaseModel):
    """How strongly contrast is randomised. Widths are in voxels, intensities in [0, 1].

    Parameters
    ----------
    knots : int
        Number of knots of the piecewise-linear intensity map.
    roughness : float
        Largest roughness of a map. The roughness is drawn at random for each map: 0 is a straight
        line, rising or falling, and 1 is a map with knots of random height. If all maps had
        roughness 1, most would be rougher than any real modality, and the network would learn to
        blur visible structures.
    variation : float
        Largest difference at a knot between the maps of two positions in one image. In real scans
        too, one contrast is not a function of the intensities of another.
    bias, gamma, blur, noise : float
        Largest bias, log-exponent, standard deviation of the blur, standard deviation of the noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    knots: int = Field(default=5, ge=2)
    roughness: float = Field(default=1.0, ge=0, le=1)
    variation: float = Field(default=0.1, ge=0, le=1)
    bias: float = Field(default=0.2, ge=0, lt=1)
    gamma: float = Field(default=0.3, ge=0)
    blur: float = Field(default=0.6, ge=0)
    noise: float = Field(default=0.04, ge=0)


def intensity_map(image: Tensor, values: Tensor) -> Tensor:
    """Apply a piecewise-linear intensity map with equally spaced knots, one for each sample.

    Parameters
    ----------
    image : Tensor, shape (B, ...)
        In [0, 1].
    values : Tensor, shape (B, K)
        The values at the knots 0, 1/(K − 1), …, 1. They need not be in order, so the map is not
        monotonic in general.
    """
    batch, knots = values.shape
    position = image.reshape(batch, -1).clamp(0, 1) * (knots - 1)
    left = position.floor().long().clamp(max=knots - 2)
    low, high = values.gather(1, left), values.gather(1, left + 1)
    return (low + (high - low) * (position - left)).reshape(image.shape)


def random_knots(
    batch: int, settings: ContrastSettings, generator: torch.Generator | None
) -> Tensor:
    """Random values of each sample's map at the knots, in [0, 1], shape (batch, knots)."""
    heights = torch.rand((batch, settings.knots), generator=generator)
    ends = torch.rand((batch, 2), generator=generator)
    line = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * torch.linspace(0, 1, settings.knots)
    share = torch.rand((batch, 1), generator=generator) * settings.roughness
    return line + share * (heights - line)


def bias_field(
    shape: tuple[int, ...], strength: float, generator: torch.Generator | None, cells: int = 4
) -> Tensor:
    """Smooth multiplicative fields within 1 ± ``strength``, shape (B, 1, \\*spatial)."""
    return 1 + strength * (2 * smooth_field(shape, generator, cells) - 1)


def smooth_field(
    shape: tuple[int, ...], generator: torch.Generator | None, cells: int = 4
) -> Tensor:
    """Smooth fields in [0, 1] from ``cells`` nodes along each axis, shape (B, 1, \\*spatial)."""
    spatial = shape[2:]
    coarse = torch.rand((shape[0], 1, *(cells,) * len(spatial)), generator=generator)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(spatial)]
    return functional.interpolate(coarse, size=spatial, mode=mode, align_corners=True)


def normalise(image: Tensor, mask: Tensor, low: float = 0.5, high: float = 99.5) -> Tensor:
    """Map the percentiles within the mask to 0 and 1, as `chiasm.image.intensity` does in use.

    Values are clamped to [0, 1] and are 0 outside the mask. A sample with an empty mask becomes 0.
    """
    out = torch.zeros_like(image)
    for one, where, target in zip(image, mask, out, strict=True):
        values = one[where]
        if not values.numel():
            continue
        bottom, top = values.quantile(values.new_tensor([low / 100, high / 100]))
        target[where] = ((values - bottom) / (top - bottom).clamp(min=1e-6)).clamp(0, 1)
    return out


class Acquisition:
    """A random gamma, bias, blur and noise for each sample of a batch.

    Parameters
    ----------
    shape : tuple of int
        (B, C, \\*spatial).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        settings: ContrastSettings,
        generator: torch.Generator | None,
    ) -> None:
        self.shape, self.settings, self.generator = shape, settings, generator
        one_each = (shape[0], 1, *(1,) * (len(shape) - 2))
        self.exponent = torch.exp(
            settings.gamma * (torch.rand(one_each, generator=generator) * 2 - 1)
        )
        self.bias = bias_field(shape, settings.bias, generator)
        self.sigmas = torch.rand(shape[0], generator=generator) * settings.blur
        self.level = torch.rand(one_each, generator=generator) * settings.noise

    def image(self, image: Tensor) -> Tensor:
        """Degrade (B, C, \\*spatial) in [0, 1]; the result may leave [0, 1].

        Parameters drawn for a single sample apply to any B.
        """
        device, spatial = image.device, image.ndim - 2
        image = image.clamp(0, 1) ** self.exponent.to(device) * self.bias.to(device)
        blurred = [
            GaussianFilter(spatial, max(float(sigma), 1e-3)).to(device)(one[None])
            for sigma, one in zip(self.sigmas.expand(len(image)), image, strict=True)
        ]
        noise = torch.randn(image.shape, generator=self.generator) * self.level
        return torch.cat(blurred) + noise.to(device)

    def population(self, values: Tensor) -> Tensor:
        """Degrade single voxels from anywhere in the volume, shape (B, Q)."""
        device, one_each = values.device, (len(values), 1)
        # A field that is interpolated between random nodes varies half as much as the nodes.
        gain = torch.rand(values.shape, generator=self.generator) - 0.5
        noise = torch.randn(values.shape, generator=self.generator) * self.level.view(one_each)
        values = values.clamp(0, 1) ** self.exponent.view(one_each).to(device)
        return values * (1 + self.settings.bias * gain).to(device) + noise.to(device)


def degrade(
    image: Tensor,
    mask: Tensor,
    settings: ContrastSettings,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Simulate another acquisition with the same contrast: gamma, bias, blur, noise, `normalise`.

    Parameters
    ----------
    image, mask : Tensor, shape (B, C, \\*spatial)
        Intensities in [0, 1], and the foreground mask.
    settings : ContrastSettings
        ``knots``, ``roughness`` and ``variation`` are not used.
    generator : torch.Generator, optional
        On the CPU; makes the result repeatable.
    """
    acquired = Acquisition(tuple(image.shape), settings, generator).image(image)
    return normalise(acquired, mask)


class Randomised(NamedTuple):
    """A batch under random contrast.

    Attributes
    ----------
    image : Tensor, shape (B, C, \\*spatial)
        In [0, 1], 0 outside the mask.
    population : Tensor, shape (B, Q)
        The given ``population`` under the same contrast, in [0, 1] and in the same order.
    """

    image: Tensor
    population: Tensor


def randomise_contrast(
    image: Tensor,
    mask: Tensor,
    population: Tensor,
    settings: ContrastSettings,
    generator: torch.Generator | None = None,
) -> Randomised:
    """The image under a random intensity map, then as another scanner might have acquired it.

    The result is scaled to [0, 1] by percentiles of the volume to which the image belongs, as in
    use. The percentiles of a single slice would not do: a slice without fluid must not look as
    bright as one with fluid.

    Parameters
    ----------
    image, mask : Tensor, shape (B, C, \\*spatial)
        Intensities in [0, 1], and the foreground mask. All channels of a sample share one map.
    population : Tensor, shape (B, Q)
        Intensities of the complete volume of each sample, e.g. their quantiles.
    settings : ContrastSettings
    generator : torch.Generator, optional
        On the CPU; makes the result repeatable.
    """
    shape, device = tuple(image.shape), image.device
    values = random_knots(len(image), settings, generator)
    change = settings.variation * (torch.rand(values.shape, generator=generator) * 2 - 1)
    elsewhere = (values + change).clamp(0, 1).to(device)
    values = values.to(device)
    share = smooth_field(shape, generator).to(device)
    mapped = (1 - share) * intensity_map(image, values) + share * intensity_map(image, elsewhere)
    acquisition = Acquisition(shape, settings, generator)
    seen = acquisition.image(mapped)
    voxels = acquisition.population(intensity_map(population, values))
    low, high = voxels.quantile(voxels.new_tensor([0.005, 0.995]), dim=1)
    width = (high - low).clamp(min=1e-6)

    def on_unit_range(x: Tensor) -> Tensor:
        one_each = (-1, *(1,) * (x.ndim - 1))
        return ((x - low.view(one_each)) / width.view(one_each)).clamp(0, 1)

    return Randomised(on_unit_range(seen) * mask, on_unit_range(voxels))


def randomise_some(
    image: Tensor,
    mask: Tensor,
    population: Tensor,
    settings: ContrastSettings,
    share: float,
    generator: torch.Generator | None = None,
    *,
    others: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Apply `randomise_contrast` to a random share of the samples.

    Parameters
    ----------
    image, mask, population, settings, generator
        As in `randomise_contrast`.
    share : float
        Probability that a sample is randomised, in [0, 1].
    others : Tensor, shape (B, C, \\*spatial), optional
        The result for the samples that are not randomised; by default ``image``.

    Returns
    -------
    images : Tensor, shape (B, C, \\*spatial)
    randomised : bool Tensor, shape (B,)
    """
    rest = image if others is None else others
    if not share:
        return rest, torch.zeros(len(image), dtype=torch.bool, device=image.device)
    some = (torch.rand(len(image), generator=generator) < share).to(image.device)
    if not some.any():
        return rest, some
    made = randomise_contrast(image[some], mask[some], population[some], settings, generator)
    result = rest.clone()
    result[some] = made.image
    return result, some
