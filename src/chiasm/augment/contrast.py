"""Contrast randomisation: a target image with the contrast of an arbitrary modality.

In use, the guide is computed from a modality in which the order of tissue brightness is unknown.
Random contrasts prepare the network for this in training. The idea comes from SynthSeg (Billot
2023). It is applied to a real or simulated image, so that no labels are needed. Where the
structures of the image are known, a share of the contrasts is made from them
(`chiasm.augment.structures`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, field_validator
from torch import Tensor
from torch.nn import functional

from chiasm.augment.structures import (
    equation_means,
    grey_white_difference,
    paint,
    random_means,
)
from chiasm.phantom.appearance import APPEARANCES


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
    structures, equations : float
        Shares of the samples, among those whose structures are known, that get a random intensity
        for each structure, and the intensities of a random scan by the signal equations. The
        others get a random intensity map.
    modalities : dict of str to float
        Weights of the modalities whose signal equations are used, by BIDS suffix. A modality that
        is not named has the weight 1, and one with the weight 0 is never drawn.
    texture : float
        Largest standard deviation inside a structure, as a share of its mean, in samples made from
        structures. In samples by the signal equations, neither this nor the noise exceeds a third
        of the difference between cortex and white matter, as in scans that people can read.
    thick : float
        Share of the samples that are acquired in thick slices, along a random axis.
    thickness : float
        Largest thickness of the slices, in voxels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    knots: int = Field(default=5, ge=2)
    roughness: float = Field(default=1.0, ge=0, le=1)
    variation: float = Field(default=0.1, ge=0, le=1)
    bias: float = Field(default=0.2, ge=0, lt=1)
    gamma: float = Field(default=0.3, ge=0)
    blur: float = Field(default=0.6, ge=0)
    noise: float = Field(default=0.04, ge=0)
    structures: float = Field(default=0.4, ge=0, le=1)
    equations: float = Field(default=0.4, ge=0, le=1)
    modalities: dict[str, NonNegativeFloat] = {}
    texture: float = Field(default=0.08, ge=0)
    thick: float = Field(default=0.0, ge=0, le=1)
    thickness: float = Field(default=6.0, ge=1)

    @field_validator("modalities")
    @classmethod
    def _are_known(cls, weights: dict[str, float]) -> dict[str, float]:
        legal = ", ".join(APPEARANCES)
        if unknown := sorted(weights.keys() - APPEARANCES.keys()):
            raise ValueError(f"{', '.join(unknown)}: no such modality; legal: {legal}")
        if not any(weights.get(name, 1.0) for name in APPEARANCES):
            raise ValueError(f"all weights are 0; legal: a positive weight for one of {legal}")
        return weights


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


def _along(image: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply each line of an image along an axis by a matrix."""
    return torch.tensordot(matrix.to(image), image, dims=([1], [axis])).movedim(0, axis)


def _profiles(centres: Tensor, length: int, sigma: float) -> Tensor:
    """Gaussian weights of the voxels around each centre, (centres, length); rows sum to 1."""
    offset = torch.arange(length) - centres[:, None]
    return torch.softmax(-0.5 * (offset / max(sigma, 1e-3)) ** 2, dim=1)


def _interpolation(centres: Tensor, length: int) -> Tensor:
    """Linear interpolation from values at equally spaced centres to voxels: (length, centres)."""
    if len(centres) == 1:
        return torch.ones((length, 1))
    step = float(centres[1] - centres[0])
    at = ((torch.arange(length) - centres[0]) / step).clamp(0, len(centres) - 1)
    left = at.floor().clamp(max=len(centres) - 2)
    index = torch.arange(len(centres))
    return (1 - (at[:, None] - index).abs()).clamp(min=0) * (
        (index == left[:, None]) | (index == left[:, None] + 1)
    )


class Slices:
    """Acquisition of one image in thick slices along an axis, and interpolation back to voxels.

    Parameters
    ----------
    spatial : tuple of int
        Shape of the image, in voxels.
    settings : ContrastSettings
        A share ``thick`` of the images has slices, whose distance is up to ``thickness`` voxels. Up
        to a quarter of the distance is a gap.
    generator : torch.Generator, optional
        Draws the thickness, the gap, the axis and the place of the first slice.
    """

    def __init__(
        self,
        spatial: tuple[int, ...],
        settings: ContrastSettings,
        generator: torch.Generator | None,
    ) -> None:
        happens, size, gap, start, axis = torch.rand(5, generator=generator).tolist()
        self.thick = happens < settings.thick
        self.axis = int(axis * len(spatial))
        if not self.thick:
            return
        step = 1 + size * (settings.thickness - 1)
        length = spatial[self.axis]
        centres = torch.arange(start * min(step, length - 1), length, step)
        self.acquire = _profiles(centres, length, step * (1 - gap / 4) / 2.355)
        self.restore = _interpolation(centres, length)

    def image(self, image: Tensor, noise: float, generator: torch.Generator | None) -> Tensor:
        """Acquire (C, \\*spatial) with noise of this standard deviation."""

        def noisy(x: Tensor) -> Tensor:
            return x + torch.randn(x.shape, generator=generator).to(x) * noise

        if not self.thick:
            return noisy(image)
        slices = _along(image, self.acquire, 1 + self.axis)
        return _along(noisy(slices), self.restore, 1 + self.axis)


class Acquisition:
    """A random gamma, bias, blur, slice thickness and noise for each sample of a batch.

    Parameters
    ----------
    shape : tuple of int
        (B, C, \\*spatial).
    absolute : bool
        Whether intensities are in absolute units, as in CT: there is no gamma and no bias.
    signal : float
        The standard deviation of the noise is multiplied by this number.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        settings: ContrastSettings,
        generator: torch.Generator | None,
        *,
        absolute: bool = False,
        signal: float = 1.0,
    ) -> None:
        self.shape, self.settings, self.generator = shape, settings, generator
        one_each = (shape[0], 1, *(1,) * (len(shape) - 2))
        gamma, bias = (0.0, 0.0) if absolute else (settings.gamma, settings.bias)
        self.exponent = torch.exp(gamma * (torch.rand(one_each, generator=generator) * 2 - 1))
        self.bias = bias_field(shape, bias, generator)
        self.strength = bias
        self.sigmas = torch.rand(shape[0], generator=generator) * settings.blur
        self.level = torch.rand(one_each, generator=generator) * settings.noise * signal
        self.slices = [Slices(shape[2:], settings, generator) for _ in range(shape[0])]

    def image(self, image: Tensor) -> Tensor:
        """Degrade (B, C, \\*spatial) in [0, 1]; the result may leave [0, 1].

        Parameters drawn for a single sample apply to any B.
        """
        device, spatial, count = image.device, image.shape[2:], len(image)
        image = image.clamp(0, 1) ** self.exponent.to(device) * self.bias.to(device)
        acquired = []
        for index, one in enumerate(image):
            own = index if len(self.slices) == count else 0
            sigma, noise = float(self.sigmas[own]), float(self.level[own])
            for axis, length in enumerate(spatial):
                blur = _profiles(torch.arange(length), length, sigma)
                one = _along(one, blur, 1 + axis) if sigma > 0.2 else one
            acquired.append(self.slices[own].image(one, noise, self.generator))
        return torch.stack(acquired)

    def population(self, values: Tensor) -> Tensor:
        """Degrade single voxels from anywhere in the volume, shape (B, Q)."""
        device, one_each = values.device, (len(values), 1)
        # A field that is interpolated between random nodes varies half as much as the nodes.
        gain = torch.rand(values.shape, generator=self.generator) - 0.5
        noise = torch.randn(values.shape, generator=self.generator) * self.level.view(one_each)
        values = values.clamp(0, 1) ** self.exponent.view(one_each).to(device)
        return values * (1 + self.strength * gain).to(device) + noise.to(device)


def degrade(
    image: Tensor,
    mask: Tensor,
    settings: ContrastSettings,
    generator: torch.Generator | None = None,
    *,
    population: Tensor | None = None,
) -> Tensor:
    """Simulate another acquisition with the same contrast: gamma, bias, blur, noise, thick slices.

    The result is scaled to [0, 1] by percentiles, as in use.

    Parameters
    ----------
    image, mask : Tensor, shape (B, C, \\*spatial)
        Intensities in [0, 1], and the foreground mask.
    settings : ContrastSettings
        ``knots``, ``roughness`` and ``variation`` are not used.
    generator : torch.Generator, optional
        On the CPU; makes the result repeatable.
    population : Tensor, shape (B, Q), optional
        Intensities of the complete volume of each sample. Percentiles are those of the volume with
        it, and those of the image without it.
    """
    # Neighbouring slices are one thin volume, so that thick slices can reach across them.
    volume = image[:, None] if image.shape[1] > 1 else image
    acquisition = Acquisition(tuple(volume.shape), settings, generator)
    acquired = acquisition.image(volume).reshape(image.shape)
    if population is None:
        return normalise(acquired, mask)
    voxels = acquisition.population(population)
    return _on_unit_range(acquired, voxels, mask, absolute=False).image


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
    return _on_unit_range(seen, voxels, mask, absolute=False)


def randomise_structures(
    image: Tensor,
    mask: Tensor,
    population: Tensor,
    structures: Tensor,
    places: Tensor,
    settings: ContrastSettings,
    generator: torch.Generator | None = None,
) -> Randomised:
    """As `randomise_contrast`, for images whose structures are known.

    Each sample gets a contrast by one of three ways, see `ContrastSettings`.

    Parameters
    ----------
    image, mask, population, settings, generator
        As in `randomise_contrast`.
    structures : uint8 Tensor, shape of the image
        Positions in `chiasm.phantom.structures.STRUCTURES`.
    places : uint8 Tensor, shape of the population
        The structures of the voxels of the population.
    """
    made = []
    for index in range(len(image)):
        way = float(torch.rand((), generator=generator))
        one = slice(index, index + 1)
        if way >= settings.structures + settings.equations:
            mapped = randomise_contrast(image[one], mask[one], population[one], settings, generator)
            made.append(mapped)
            continue
        absolute, most = False, float("inf")
        if way < settings.structures:
            means = random_means(generator)
        else:
            means, absolute = equation_means(generator, settings.modalities)
            most = grey_white_difference(means) / 3
        # In CT's window, grey and white matter are only a tenth of the range apart.
        level = settings.texture * (0.3 if absolute else means.clamp(min=0))
        level = torch.as_tensor(level).clamp(max=most)
        deviations = torch.rand(len(means), generator=generator) * level
        # Neighbouring slices are one thin volume, so that thick slices can reach across them.
        volume = structures[index] if structures.shape[1] > 1 else structures[index, 0]
        drawn = paint(volume, means, deviations, generator)[None, None]
        noise = torch.randn(places[one].shape, generator=generator).to(image.device)
        chosen = places[one].long().to(means.device)
        voxels = means[chosen].to(image) + deviations[chosen].to(image) * noise
        # A bright fluid must not hide the brain in noise: noise is relative to most voxels.
        signal = 1.0 if absolute else min(1.0, 1.5 * float(means[chosen].median()))
        signal = min(signal, most / max(settings.noise, 1e-6))
        acquisition = Acquisition(
            tuple(drawn.shape), settings, generator, absolute=absolute, signal=signal
        )
        seen = acquisition.image(drawn).reshape(1, *image.shape[1:])
        voxels = acquisition.population(voxels)
        made.append(_on_unit_range(seen, voxels, mask[one], absolute=absolute))
    return Randomised(
        torch.cat([one.image for one in made]), torch.cat([one.population for one in made])
    )


def _on_unit_range(image: Tensor, voxels: Tensor, mask: Tensor, *, absolute: bool) -> Randomised:
    """Scale to [0, 1] by percentiles of the population, unless the range is absolute."""
    low, width = voxels.new_zeros(len(voxels)), voxels.new_ones(len(voxels))
    if not absolute:
        low, high = voxels.quantile(voxels.new_tensor([0.005, 0.995]), dim=1)
        width = (high - low).clamp(min=1e-6)

    def scaled(x: Tensor) -> Tensor:
        one_each = (-1, *(1,) * (x.ndim - 1))
        return ((x - low.view(one_each)) / width.view(one_each)).clamp(0, 1)

    return Randomised(scaled(image) * mask, scaled(voxels))


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
