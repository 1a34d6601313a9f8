"""Scores of an image against the true image inside a mask: MAE, NMSE, PSNR, SSIM."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.errors import CaseError, explain
from chiasm.image.volume import Volume
from chiasm.scoring.common_grid import Score, check_same_grid, checked_mask

# Wang et al. 2004: Gaussian weights (standard deviation 1.5 voxels) in a window of 11 voxels.
_SIGMA = 1.5
_WINDOW = 11
_RANGE_PERCENTILES = (0.5, 99.5)


class ImageScores(BaseModel):
    """Agreement of an image with the truth. NaN and infinity are null in JSON.

    Attributes
    ----------
    mae : float
        Mean absolute error inside the mask, in ``units``.
    nmse : float
        Sum of squared errors divided by the sum of squares of the truth, inside the mask.
    psnr : float
        Peak signal-to-noise ratio in dB, 10 log10(``data_range``² / mean squared error) inside the
        mask. It is infinite for equal images.
    ssim : float
        Structural similarity (at most 1), averaged over the mask.
    units : str
        Units of ``mae`` and ``data_range``, which are those of the truth.
    data_range : float
        99.5th minus 0.5th percentile of the truth inside the mask, used for PSNR and SSIM.
    voxels : int
        Number of voxels inside the mask.
    mask : str
        ``"given"``, or ``"foreground of the truth"`` if the mask was found on the truth.
    ssim_windows : str
        ``"3D"``, or ``"2D slices along axis k"`` if axis k is too short for a 3D window.
    """

    model_config = ConfigDict(frozen=True)

    mae: Score
    nmse: Score
    psnr: Score
    ssim: Score
    units: str
    data_range: float
    voxels: int
    mask: Literal["foreground of the truth", "given"]
    ssim_windows: str


def image_scores(
    pred: Volume,
    truth: Volume,
    mask: np.ndarray | None = None,
    *,
    slice_axis: int | None = None,
) -> ImageScores:
    """MAE, NMSE, PSNR and SSIM of an image against the true image, inside a mask.

    SSIM follows Wang et al. 2004 (doi:10.1109/TIP.2003.819861) with Gaussian weights of 1.5 voxels,
    K1 = 0.01 and K2 = 0.03. Its map is computed on the whole images and then averaged over the
    mask, so windows at the edge of the mask include voxels outside it.

    Parameters
    ----------
    pred, truth : Volume, shape (I, J, K)
        On one grid, in the same units.
    mask : bool array, shape (I, J, K), optional
        The voxels that are compared; by default the truth's foreground
        (`chiasm.image.foreground.foreground_mask`).
    slice_axis : int, optional
        The array axis along which slices are stacked. If it is given, the windows of SSIM are 2D
        and lie within the slices. By default they are 3D if every axis is long enough.

    Raises
    ------
    CaseError
        The grids differ; the mask is empty or has another shape; the truth has no contrast inside
        the mask; or more than one axis is shorter than the window of SSIM.
    """
    check_same_grid(pred, truth)
    if given := mask is not None:
        inside = checked_mask(mask, truth.shape)
    else:
        from chiasm.image.foreground import foreground_mask

        inside = checked_mask(foreground_mask(truth), truth.shape)
    predicted, true = pred.array.astype(np.float64), truth.array.astype(np.float64)
    data_range = _data_range(true[inside])
    error = predicted[inside] - true[inside]
    mean_square = float(np.mean(error**2))
    similarity, windows = _ssim_map(predicted, true, data_range, slice_axis)
    return ImageScores(
        mae=float(np.abs(error).mean()),
        nmse=float(np.sum(error**2) / power) if (power := np.sum(true[inside] ** 2)) else np.inf,
        psnr=10 * np.log10(data_range**2 / mean_square) if mean_square else np.inf,
        ssim=float(similarity[inside].mean()),
        units=truth.units,
        data_range=data_range,
        voxels=int(inside.sum()),
        mask="given" if given else "foreground of the truth",
        ssim_windows=windows,
    )


def _data_range(values: np.ndarray) -> float:
    low, high = np.percentile(values, _RANGE_PERCENTILES)
    if not high > low:
        problem = f"has no contrast inside the mask (percentiles {low:g} and {high:g})"
        raise CaseError(explain("--truth", "image", problem, "an image that is not constant"))
    return float(high - low)


def _ssim_map(
    pred: np.ndarray, truth: np.ndarray, data_range: float, axis: int | None
) -> tuple[np.ndarray, str]:
    """SSIM of every voxel, shape (I, J, K), and whether windows were 3D or 2D, in words."""
    from skimage.metrics import structural_similarity

    short = [k for k, length in enumerate(truth.shape) if length < _WINDOW and k != axis]
    if len(short) > (axis is None):
        legal = f"at least {_WINDOW} voxels along two axes"
        raise CaseError(explain("--truth", truth.shape, "is too small for SSIM's window", legal))
    axis = short[0] if short else axis
    _, similarity = structural_similarity(
        truth,
        pred,
        data_range=data_range,
        win_size=_WINDOW,
        gaussian_weights=True,
        sigma=_SIGMA,
        use_sample_covariance=False,  # as in the paper
        channel_axis=axis,  # each "channel" is one 2D slice
        full=True,
    )
    return similarity, "3D" if axis is None else f"2D slices along axis {axis}"
