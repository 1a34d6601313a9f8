"""Local mutual information: a map of how well the local statistics of two images agree.

Every patch of the source is compared with the patches of the other image around the same
position, by the mutual information of their grey values (Parzen windows). The highest score is
kept. A score does not depend on which grey value a tissue has in each image. The method is from
Wang et al., "Mutual Information Guided Diffusion for Zero-Shot Cross-Modality Medical Image
Translation", IEEE TMI 2024, arXiv 2404.01102.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chiasm.lmi.settings import LMISettings

if TYPE_CHECKING:
    from chiasm.lmi.prepared import PreparedSource
    from chiasm.lmi.settings import Binning

__all__ = ["LMISettings", "local_mutual_information", "patch_mutual_information", "prepare"]

# The functions import torch and numba themselves, because the command line imports this package
# only for its names.


# Default working memory in bytes.
MEMORY = 2**26


def prepare(
    source: Any, *, mask: Any = None, memory: int = MEMORY, **settings: Any
) -> PreparedSource:
    """Prepare a source, so that it can be compared with several images at less cost.

    Parameters
    ----------
    source : array or Tensor, shape (H, W), (D, H, W), (B, 1, H, W) or (B, 1, D, H, W)
        Floating point intensities; values outside [0, 1] are clamped, unless ``binning`` is
        ``"quantile"``, for which they may have any range.
    mask : array or Tensor of bool, shape of the source, optional
        The pixels to score. Other pixels get the score 0 and are not computed. Patches still
        include pixels outside the mask. With quantile bins the mask is also the foreground whose
        distribution the bins follow, in the source and in the other image. Without a mask, this
        foreground is every pixel of the source that differs from its smallest value, or every
        pixel if only one has that value.
    memory : int
        Bytes of working memory that a call (and its backward pass) may use in addition to inputs,
        results and the prepared source; at least 2²⁴. There are three exceptions. If ``bandwidth``
        is below 0.4 of the spacing of the bins, the score is computed by its definition, which does
        not use this limit. A gradient on the CPU needs at least the memory of one plane of a volume
        (one row of a 2D image) together with the planes (rows) that its patches reach. Quantile
        bins need up to 100 bytes per pixel for the ranks.
    **settings
        Fields of `LMISettings`.

    Returns
    -------
    PreparedSource
        ``prepared(other, reduce="max")`` returns the result of `local_mutual_information` for
        another image of the same shape.

    Raises
    ------
    UsageError
        A `ValueError`: the source is not floating point, is empty, holds NaN or has no legal
        shape; the mask is not boolean or has another shape; or a setting is not legal.
    """
    checked = LMISettings(**settings)
    from chiasm.lmi.prepared import PreparedSource

    return PreparedSource(source, checked, mask, memory)


def local_mutual_information(
    source: Any,
    other: Any,
    *,
    patch_size: int = 3,
    search_size: int = 3,
    bins: int = 27,
    bandwidth: float = 8 / 255,
    normalized: bool = True,
    binning: Binning = "uniform",
    mask: Any = None,
    reduce: str = "max",
    memory: int = MEMORY,
) -> Any:
    """Best mutual information of each patch of the source with nearby patches of another image.

    On the CPU it runs in ``torch.get_num_threads()`` threads. If ``other`` requires a gradient,
    the scores are differentiable, so that they can guide an unconditional model. With quantile
    bins, the gradient holds the distribution fixed (`chiasm.lmi.distribution.Distribution`).

    Parameters
    ----------
    source, other : arrays or Tensors of one shape
        (H, W), (D, H, W), (B, 1, H, W) or (B, 1, D, H, W), floating point. Values may lie
        outside [0, 1], as in the x_t of a diffusion model.
    patch_size, search_size, bins, bandwidth, normalized, binning
        See `LMISettings`. Both images are clamped to [0, 1], or, with quantile bins, each is first
        mapped to [0, 1] by its own distribution over one foreground, see `prepare`. The pixels at
        the border of an image are repeated outside it. Every pixel has unit Parzen mass, so that
        0 ≤ NMI ≤ 1.
    mask, memory
        See `prepare`.
    reduce : {"max", "none", "offset"}
        What is returned: the score of the best offset, the scores of all offsets, or the best
        offset.

    Returns
    -------
    array or Tensor, on the device of the input
        Normalised mutual information, or mutual information in bits, float32 (float64 if a
        float64 ``other`` requires a gradient). If the images have no axis B, the result has none.

        - ``"max"``: the score of the best offset, shape of the source.
        - ``"none"``: the scores of all offsets, (B, offsets, *spatial). The first offset is the
          most negative one, and the last axis varies fastest.
        - ``"offset"``: the best offset, int64, (B, axes, *spatial), in pixels from the pixel of
          the source to that of the other image. If several offsets have the best score, the
          shortest is returned.

    Raises
    ------
    UsageError
        A `ValueError` that names the argument: arrays are integer, hold NaN or differ in shape, a
        size is even, there are fewer than 2 bins, or the bandwidth is below a quarter of the
        spacing of the bins.
    """
    prepared = prepare(
        source,
        patch_size=patch_size,
        search_size=search_size,
        bins=bins,
        bandwidth=bandwidth,
        normalized=normalized,
        binning=binning,
        mask=mask,
        memory=memory,
    )
    return prepared(other, reduce=reduce)


def patch_mutual_information(
    x: Any,
    y: Any,
    *,
    bins: int = 27,
    bandwidth: float = 8 / 255,
    normalized: bool = True,
) -> Any:
    """Mutual information of pairs of patches, without a search for the best offset.

    Parameters
    ----------
    x, y : arrays or Tensors, shape (N, *patch)
        Floating point values of N pairs of patches of any shape.
    bins, bandwidth, normalized
        See `LMISettings`. The bins are uniform, because patches without their image have no
        distribution that bins could follow.

    Returns
    -------
    array or Tensor, float32, shape (N,)
        Computed in float64.

    Raises
    ------
    UsageError
        An argument is not legal, as in `local_mutual_information`.
    """
    settings = LMISettings(bins=bins, bandwidth=bandwidth, normalized=normalized)
    from chiasm.lmi.prepared import pairwise

    return pairwise(x, y, settings)
