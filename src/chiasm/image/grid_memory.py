"""The memory that resampling a scan to a network's lattice and back needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chiasm.image.grid import Grid

_FLOAT = 4  # bytes of float32
# Bytes per voxel that are held in addition to the resampling; see `preparation_bytes`.
_OF_SCAN, _OF_NETWORK = 12, 29
# Bytes of the matrix that samples m voxels at n positions: per m·m for the basis and its spline,
# and per m·n for two copies of the weights.
_BASIS, _WEIGHTS = 72, 12


def preparation_bytes(grid: Grid, images: int = 1) -> int:
    """The peak memory of `chiasm.image.preparation.Prepared`, in bytes.

    This is the larger of two peaks.

    1. On the way to the network: the intensities on [0, 1] in float64 and float32 on the scan's
       lattice, and the resampling.
    2. On the way back: the image, the foreground, the network's input (``images`` channels) and
       output, and the nearest foreground voxel of every voxel, all on the network's lattice; and
       the resampling.

    The working memory of the network is not included. On six pairs of lattices the estimate was
    1.1 to 1.7 times what tracemalloc counted.

    Parameters
    ----------
    grid : Grid
    images : int
        Number of channels of the network's input: a slice and its neighbours.
    """
    scan, network = (
        int(np.prod(shape, dtype=object)) for shape in (grid.source.shape, grid.network_shape)
    )
    axes = grid._along().axes
    turned = [grid.source.shape[axis] for axis in axes]
    there = _resampling_bytes(turned, grid.network_shape)
    back = _resampling_bytes(grid.network_shape, turned)
    given = scan * _OF_SCAN + there
    returned = network * (_OF_NETWORK + _FLOAT * images) + back
    return max(given, returned)


def _resampling_bytes(before: Sequence[int], after: Sequence[int]) -> int:
    """The peak memory of resampling axis by axis from one shape to another, in bytes."""
    peak, shape = 0, list(before)
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        given = int(np.prod(shape, dtype=object))
        shape[axis] = new
        made = int(np.prod(shape, dtype=object))
        matrix = old * old * _BASIS + old * new * _WEIGHTS
        peak = max(peak, 2 * _FLOAT * (given + made) + (matrix if old != new else 0))
    return peak
