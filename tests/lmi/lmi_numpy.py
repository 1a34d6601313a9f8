"""Local mutual information written out slowly in float64 NumPy, from the formulas alone."""

from itertools import product

import numpy as np


def entropy(p):
    p = p[p > 0]
    return -np.sum(p * np.log2(p))


def mutual_information(x, y, bins=27, bandwidth=8 / 255, normalized=True):
    """Of two patches: unit Parzen mass per pixel, entropies in bits."""
    centres = np.linspace(0, 1, bins)

    def weights(patch):
        distance = (np.ravel(patch)[:, None] - centres) / bandwidth
        kernel = np.exp(-0.5 * (distance**2 - (distance**2).min(1, keepdims=True)))
        return kernel / kernel.sum(1, keepdims=True)

    joint = weights(x).T @ weights(y) / np.size(x)
    hx, hy = entropy(joint.sum(1)), entropy(joint.sum(0))
    mutual = hx + hy - entropy(joint)
    if not normalized:
        return mutual
    return 2 * mutual / (hx + hy) if hx + hy > 0 else 0.0


def every_score(source, other, patch_size=3, search_size=3, **estimator):
    """Corrected scores (offsets, *spatial) of two images in float64."""
    p, s = patch_size // 2, search_size // 2
    source = np.pad(np.clip(np.asarray(source, float), 0, 1), p, mode="edge")
    other = np.pad(np.clip(np.asarray(other, float), 0, 1), p + s, mode="edge")
    spatial = tuple(n - 2 * p for n in source.shape)
    offsets = list(product(range(search_size), repeat=source.ndim))
    scores = np.empty((len(offsets), *spatial))
    for place in np.ndindex(spatial):
        x = source[tuple(slice(i, i + patch_size) for i in place)]
        for n, offset in enumerate(offsets):
            corner = [i + o for i, o in zip(place, offset, strict=True)]
            y = other[tuple(slice(i, i + patch_size) for i in corner)]
            scores[(n, *place)] = mutual_information(x, y, **estimator)
    return scores
