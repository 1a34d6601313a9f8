"""Segments from the features of a diffusion model (DiffCut; Couairon et al., arXiv 2406.02842).

The features of two patches are alike if the patches belong to the same object. A graph of patches
is cut in two where the parts are least alike, and each part is cut again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg import eigh


class CutSettings(BaseModel):
    """How a graph is cut.

    Parameters
    ----------
    threshold : float
        A part is cut only if the value of the normalised cut is smaller (τ, 0 to 2).
    power : float
        The cosine of two features is raised to this power (α).
    candidates : int
        The number of splitting points of the eigenvector that are tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: float = Field(default=0.5, gt=0, le=2)
    power: float = Field(default=10.0, gt=0)
    candidates: int = Field(default=50, ge=1)


def affinity(features: np.ndarray, power: float) -> np.ndarray:
    """The similarity of all pairs of patches.

    Parameters
    ----------
    features : float array, shape (N, channels)
    power : float

    Returns
    -------
    float64 array, shape (N, N)
        max(0, cosine)^power, from 0 to 1.
    """
    features = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, 1e-12)
    return np.clip(unit @ unit.T, 0, 1) ** power


def cut_value(weights: np.ndarray, inside: np.ndarray) -> float:
    """The normalised cut of a graph in two (Shi and Malik, IEEE TPAMI 2000, 22:888).

    Ncut(A, B) = cut(A, B) / assoc(A, V) + cut(A, B) / assoc(B, V).

    Parameters
    ----------
    weights : float array, shape (N, N), symmetric
    inside : bool array, shape (N,)
        Which nodes belong to A. Neither A nor B is empty.
    """
    degrees = weights.sum(axis=1)
    crossing = float(weights[np.ix_(inside, ~inside)].sum())
    return crossing / float(degrees[inside].sum()) + crossing / float(degrees[~inside].sum())


def bisected(weights: np.ndarray, candidates: int) -> tuple[np.ndarray, float]:
    """The best cut of a graph in two along its second generalised eigenvector, and its value.

    The eigenvector of (D − W) x = λ D x that belongs to the second smallest λ is thresholded at
    evenly spaced values.

    Parameters
    ----------
    weights : float array, shape (N, N), symmetric, N ≥ 2
        Every node has an edge, at least to itself.
    candidates : int
        The number of thresholds that are tried.
    """
    degrees = weights.sum(axis=1)
    _, vectors = eigh(np.diag(degrees) - weights, np.diag(degrees), subset_by_index=[0, 1])
    vector = vectors[:, 1]
    low, high = vector.min(), vector.max()
    thresholds = np.linspace(low, high, candidates + 2)[1:-1]
    cuts = [vector > one for one in thresholds if low < one < high]
    if not cuts:  # all nodes are the same, and any cut is as good
        cuts = [np.arange(len(weights)) < len(weights) // 2]
    values = [cut_value(weights, inside) for inside in cuts]
    best = int(np.argmin(values))
    return cuts[best], values[best]


def recursive_cut(weights: np.ndarray, settings: CutSettings) -> np.ndarray:
    """Cut a graph in two again and again, until the cut of each part is too expensive.

    Parameters
    ----------
    weights : float array, shape (N, N), symmetric
    settings : CutSettings

    Returns
    -------
    int array, shape (N,)
        The segment of each node, from 0.
    """
    labels = np.zeros(len(weights), dtype=np.int64)
    for number, nodes in enumerate(_parts(weights, np.arange(len(weights)), settings)):
        labels[nodes] = number
    return labels


def _parts(weights: np.ndarray, nodes: np.ndarray, settings: CutSettings) -> Iterator[np.ndarray]:
    if len(nodes) < 2:
        yield nodes
        return
    inside, value = bisected(weights[np.ix_(nodes, nodes)], settings.candidates)
    if value >= settings.threshold:
        yield nodes
        return
    yield from _parts(weights, nodes[inside], settings)
    yield from _parts(weights, nodes[~inside], settings)
