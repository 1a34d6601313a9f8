"""Contrast randomisation: a target image with the look of some other modality.

The guide meets in training what it meets in use: tissues whose order of brightness it has never
seen. The idea is SynthSeg's (Billot 2023), applied to a real or simulated image in place of a
label map, so that no labels are needed.
"""

from __future__ import annotations

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
        Of the piecewise-linear map.
    roughness : float
        Each map lies between a straight line, rising or falling, and knots of random height, by a
        share drawn up to this. With all maps at 1, most are rougher than any modality, and the
        network learns to blur what it could see.
    bias, gamma, blur, noise : float
        Largest bias, log-exponent, standard deviation of blur, standard deviation of noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    knots: int = Field(default=5, ge=2)
    roughness: float = Field(default=1.0, ge=0, le=1)
    bias: float = Field(default=0.2, ge=0, lt=1)
    gamma: float = Field(default=0.3, ge=0)
    blur: float = Field(default=0.4, ge=0)
    noise: float = Field(default=0.04, ge=0)


def intensity_map(image: Tensor, values: Tensor) -> Tensor:
    """Piecewise-linear map of [0, 1], one per sample, through equally spaced knots.

    Parameters
    ----------
    image : Tensor, shape (B, ...)
        In [0, 1].
    values : Tensor, shape (B, K)
        What the knots 0, 1/(K − 1), …, 1 are mapped to; any order, so not monotone in general.
    """
    batch, knots = values.shape
    position = image.reshape(batch, -1).clamp(0, 1) * (knots - 1)
    left = position.floor().long().clamp(max=knots - 2)
    low, high = values.gather(1, left), values.gather(1, left + 1)
    return (low + (high - low) * (position - left)).reshape(image.shape)


def random_knots(
    batch: int, settings: ContrastSettings, generator: torch.Generator | None
) -> Tensor:
    """What the knots of each sample's map are mapped to: in [0, 1], shape (batch, knots)."""
    heights = torch.rand((batch, settings.knots), generator=generator)
    ends = torch.rand((batch, 2), generator=generator)
    line = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * torch.linspace(0, 1, settings.knots)
    share = torch.rand((batch, 1), generator=generator) * settings.roughness
    return line + share * (heights - line)


def bias_field(
    shape: tuple[int, ...], strength: float, generator: torch.Generator | None, cells: int = 4
) -> Tensor:
    """Smooth multiplicative fields within 1 ± ``strength``, shape (B, 1, \\*spatial)."""
    spatial = shape[2:]
    coarse = torch.rand((shape[0], 1, *(cells,) * len(spatial)), generator=generator) * 2 - 1
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(spatial)]
    return 1 + strength * functional.interpolate(
        coarse, size=spatial, mode=mode, align_corners=True
    )


def normalise(image: Tensor, mask: Tensor, low: float = 0.5, high: float = 99.5) -> Tensor:
    """Percentiles within the mask → 0 and 1, clamped, 0 outside: the intensity step of use.

    A sample whose mask is empty becomes 0.
    """
    out = torch.zeros_like(image)
    for one, where, target in zip(image, mask, out, strict=True):
        values = one[where]
        if not values.numel():
            continue
        bottom, top = values.quantile(values.new_tensor([low / 100, high / 100]))
        target[where] = ((values - bottom) / (top - bottom).clamp(min=1e-6)).clamp(0, 1)
    return out


def degrade(
    image: Tensor,
    mask: Tensor,
    settings: ContrastSettings,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Gamma, bias, blur and noise, then `normalise`: the same contrast, another acquisition.

    Parameters
    ----------
    image, mask : Tensor, shape (B, C, \\*spatial)
        Intensities in [0, 1]; True where the head is.
    settings : ContrastSettings
        ``knots`` is not used.
    generator : torch.Generator, optional
        On the CPU; makes the draw repeatable.
    """
    batch, spatial = image.shape[0], image.ndim - 2
    one_each = (batch, 1, *(1,) * spatial)
    device = image.device
    exponent = torch.exp(settings.gamma * (torch.rand(one_each, generator=generator) * 2 - 1))
    image = image.clamp(0, 1) ** exponent.to(device)
    image = image * bias_field(tuple(image.shape), settings.bias, generator).to(device)
    sigmas = torch.rand(batch, generator=generator) * settings.blur
    image = torch.cat(
        [
            GaussianFilter(spatial, max(float(sigma), 1e-3)).to(device)(one[None])
            for sigma, one in zip(sigmas, image, strict=True)
        ]
    )
    level = torch.rand(one_each, generator=generator) * settings.noise
    noise = torch.randn(image.shape, generator=generator) * level
    return normalise(image + noise.to(device), mask)


def randomise_contrast(
    image: Tensor,
    mask: Tensor,
    settings: ContrastSettings,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The image under a random intensity map, then under `degrade`.

    Parameters
    ----------
    image, mask : Tensor, shape (B, C, \\*spatial)
        Intensities in [0, 1]; True where the head is. All channels of a sample share one map.
    settings : ContrastSettings
    generator : torch.Generator, optional
        On the CPU; makes the draw repeatable.

    Returns
    -------
    Tensor, shape (B, C, \\*spatial)
        In [0, 1], 0 outside the mask.
    """
    values = random_knots(image.shape[0], settings, generator)
    return degrade(intensity_map(image, values.to(image.device)), mask, settings, generator)
