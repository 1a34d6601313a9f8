"""Artefacts of the scanner: bias field, thick slices, noise, ringing and motion."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from scipy import fft

_BIAS_DEGREE = 3


def bias_field(
    rng: np.random.Generator, shape: tuple[int, int, int], strength: float
) -> np.ndarray:
    """A smooth multiplicative field: a random sum of products of Legendre polynomials.

    Parameters
    ----------
    rng : Generator
    shape : tuple of int
        Shape of the image.
    strength : float
        The largest deviation from 1, e.g. 0.2.

    Returns
    -------
    float32 array of this shape
        Within [1 − strength, 1 + strength]; at least one end is reached.
    """
    coefficients = rng.standard_normal((_BIAS_DEGREE + 1,) * 3)
    degree = np.indices(coefficients.shape).sum(0)
    coefficients[(degree == 0) | (degree > _BIAS_DEGREE)] = 0
    coefficients /= np.maximum(degree, 1)
    field = coefficients
    for n in shape:  # one axis after the other: the first is used up, and a new one is the last
        places = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        field = np.tensordot(field, legendre.legvander(places, _BIAS_DEGREE), axes=(0, 1))
    peak = max(float(field.max()), -float(field.min()))
    field *= strength / (peak or 1)
    field += 1
    return field.astype(np.float32)


def thick_slices(
    image: np.ndarray, spacing: float, thickness: float, offset: float = 0.0
) -> np.ndarray:
    """Simulate thick slices along the last axis, and interpolate linearly back to the voxels.

    Parameters
    ----------
    image : array, shape (I, J, K)
    spacing, thickness : float
        Spacing of the voxels and thickness of the slices, in mm. The image does not change if the
        slices are not thicker than the voxels.
    offset : float
        Distance by which the first slice begins before the image, in slices, 0 to 1.

    Returns
    -------
    float32 array, shape (I, J, K)
        Each slice is the mean over its thickness; the outermost slices are means over the part
        inside the image. A slice is placed at the mean position of its voxels, so that a linear
        slope is preserved.
    """
    if thickness <= spacing:
        return image
    edges = np.arange(image.shape[-1] + 1) * spacing
    bounds = np.arange(-offset * thickness, edges[-1], thickness)
    upper = np.minimum(bounds[:, None] + thickness, edges[1:])
    overlap = np.clip(upper - np.maximum(bounds[:, None], edges[:-1]), 0, None)
    overlap /= overlap.sum(1, keepdims=True)
    voxels = edges[:-1] + spacing / 2
    centres = overlap @ voxels
    back = np.stack([np.interp(voxels, centres, unit) for unit in np.eye(len(centres))], axis=1)
    return (image @ (back @ overlap).T.astype(np.float32)).astype(np.float32)


def rician(signal: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of a complex signal with Gaussian noise in both channels.

    Parameters
    ----------
    signal : array
        Magnitude without noise, at least 0.
    sigma : float
        Standard deviation of the noise in each channel. Without signal, the result is Rayleigh
        distributed with mean σ·√(π/2) (Gudbjartsson and Patz, MRM 1995, 34:910).

    Returns
    -------
    float32 array
    """
    real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
    real += signal
    return np.sqrt(real * real + imaginary * imaginary)  # np.hypot is ten times slower


def ringing(image: np.ndarray, axis: int, share: float) -> np.ndarray:
    """Gibbs ringing: high spatial frequencies along an axis are not acquired.

    Parameters
    ----------
    image : array
    axis : int
    share : float
        Share of the frequencies that are acquired, 0 to 1. With 1, the image does not change.

    Returns
    -------
    float32 array
        The magnitude.
    """
    kept = np.abs(fft.fftfreq(image.shape[axis])) <= share / 2
    return _filtered(image, axis, kept)


def motion(
    image: np.ndarray, axis: int, shift: float, start: float, rng: np.random.Generator
) -> np.ndarray:
    """Ghosts of a sudden movement: a part of the frequencies belongs to a shifted image.

    Parameters
    ----------
    image : array
    axis : int
        The phase-encoding axis. The frequencies along it are acquired one after the other.
    shift : float
        Distance of the movement along this axis, in voxels.
    start : float
        When the movement happens, as a share of the acquisition. The centre of the frequencies is
        at one half. The later it is, the weaker are the ghosts.
    rng : Generator
        Draws the direction.

    Returns
    -------
    float32 array
        The magnitude.
    """
    frequencies = fft.fftfreq(image.shape[axis])
    order = (frequencies + 0.5) % 1  # acquired from the lowest to the highest frequency
    moved = np.exp(-2j * np.pi * frequencies * shift * rng.choice([-1, 1]))
    return _filtered(image, axis, np.where(order >= start, moved, 1))


def _filtered(image: np.ndarray, axis: int, factors: np.ndarray) -> np.ndarray:
    """The magnitude of an image whose frequencies along an axis are multiplied: float32."""
    shape = [1] * image.ndim
    shape[axis] = image.shape[axis]
    spectrum = fft.fft(image.astype(np.float32, copy=False), axis=axis)
    spectrum *= factors.reshape(shape).astype(np.complex64)
    return np.abs(fft.ifft(spectrum, axis=axis, overwrite_x=True))
