"""Segments from the features of a diffusion model (DiffCut; Couairon et al., arXiv 2406.02842).

The features of two patches are alike if the patches belong to the same object. A graph of patches
is cut in two where the parts are least alike, and each part is cut again.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from skimage import graph


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


def recursive_cut(weights: np.ndarray, settings: CutSettings) -> np.ndarray:
    """Cut a graph in two again and again, until the cut of each part is too expensive.

    The cuts are those of `skimage.graph.cut_normalized` (Shi and Malik, IEEE TPAMI 2000, 22:888).
    The value of a cut is Ncut(A, B) = cut(A, B) / assoc(A, V) + cut(A, B) / assoc(B, V).

    Parameters
    ----------
    weights : float array, shape (N, N), symmetric
        As `affinity` returns them, from 0 to 1.
    settings : CutSettings

    Returns
    -------
    int array, shape (N,)
        The segment of each node, from 0.
    """
    nodes = np.arange(len(weights))
    network = graph.RAG()
    for node in nodes.tolist():
        network.add_node(node, labels=[node])
    i, j = np.triu_indices(len(nodes), 1)
    linked = weights[i, j] > 0
    i, j = i[linked], j[linked]
    network.add_weighted_edges_from(
        zip(i.tolist(), j.tolist(), weights[i, j].tolist(), strict=True)
    )
    found = graph.cut_normalized(
        nodes[None], network, settings.threshold, settings.candidates, max_edge=1.0, rng=0
    )
    _, numbered = np.unique(found[0], return_inverse=True)
    return np.asarray(numbered, dtype=np.int64)
