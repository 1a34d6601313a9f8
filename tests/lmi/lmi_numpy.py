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


def published_scores(source, other, bins=27, bandwidth=8 / 255, normalized=True):
    """Scores (9, H, W) of the published layer: mosaic, grey levels and ε as it has them."""
    eps = 1e-10
    height, width = source.shape
    centres = np.linspace(0, 255, bins)

    def weights(patch):
        levels = (np.float32(255) * np.ravel(patch).astype(np.float32)).astype(int)
        return np.exp(-0.5 * ((levels[:, None] - centres) / (255 * bandwidth)) ** 2)

    def bits(mass):
        p = mass / (mass.sum() + eps)
        return -np.sum(p * np.log2(p + eps))

    inside, outside = np.pad(source, 1), np.pad(other, 1)
    mosaic = np.zeros((3 * height + 2, 3 * width + 2), source.dtype)
    for i, j in np.ndindex(height, width):
        mosaic[1 + 3 * i : 4 + 3 * i, 1 + 3 * j : 4 + 3 * j] = outside[i : i + 3, j : j + 3]
    scores = np.empty((9, height, width))
    for i, j in np.ndindex(height, width):
        wx = weights(inside[i : i + 3, j : j + 3])
        for n, (u, v) in enumerate(product(range(3), repeat=2)):
            wy = weights(mosaic[3 * i + u : 3 * i + u + 3, 3 * j + v : 3 * j + v + 3])
            hx, hy = bits(wx.mean(0)), bits(wy.mean(0))
            mutual = hx + hy - bits(wx.T @ wy)
            scores[n, i, j] = 2 * (mutual + eps) / (hx + hy + eps) if normalized else mutual
    return scores
