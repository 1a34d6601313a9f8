"""Images that engines are compared on: noise, smooth, and pieces of one value on a background."""

import numpy as np
from scipy.ndimage import gaussian_filter


def noise(shape, seed):
    """Uniform noise that leaves [0, 1] on both sides."""
    return np.random.default_rng(seed).uniform(-0.2, 1.2, shape).astype(np.float32)


def smooth(shape, seed):
    """Slow waves over all of [0, 1]."""
    waves = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return ((waves - waves.min()) / max(np.ptp(waves), 1e-6)).astype(np.float32)


def pieces(shape, seed):
    """Three values in blobs of some pixels on a background of 0."""
    waves = smooth(shape, seed)
    return np.digitize(waves, [0.45, 0.6, 0.75]).astype(np.float32) * np.float32(0.31)


KINDS = {"noise": noise, "smooth": smooth, "pieces": pieces}
