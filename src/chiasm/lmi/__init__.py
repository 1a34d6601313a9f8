"""Local mutual information: how the local statistics of two images agree, pixel by pixel.

Every patch of the source is compared with the patches of the other image around the same place,
by the mutual information of their grey values (Parzen windows), and the best agreement is kept.
What it means does not depend on how grey values are assigned to tissues: Wang et al., "Mutual
Information Guided Diffusion for Zero-Shot Cross-Modality Medical Image Translation", IEEE TMI
2024, arXiv 2404.01102.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chiasm.lmi.settings import LMISettings

if TYPE_CHECKING:
    from chiasm.lmi.prepared import PreparedSource

__all__ = ["LMISettings", "local_mutual_information", "patch_mutual_information", "prepare"]

# torch and numba are imported by the functions: the command line imports this package for names.


# Bytes of working memory unless the caller says otherwise.
MEMORY = 2**26


def prepare(
    source: Any, *, mask: Any = None, memory: int = MEMORY, **settings: Any
) -> PreparedSource:
    """Do once what depends on the source alone.

    Parameters
    ----------
    source : array or Tensor, shape (H, W), (D, H, W), (B, 1, H, W) or (B, 1, D, H, W)
        Floating point intensities; those outside [0, 1] are clamped (``"corrected"``) or have
        little or no Parzen mass (``"published"``).
    mask : array or Tensor of bool, shape of the source, optional
        Where scores are wanted: they are 0 elsewhere, and cost nothing there. Patches still see
        the whole images.
    memory : int
        Bytes of working memory, beside inputs, results and what is kept of the source, that a
        call (and its backward pass) may take; at least 2²⁴. Variant ``"corrected"``, and kernels
        of at least half a bin: the definition, which stands in for these, has a bound of its own.
        A gradient takes what a plane of a volume, and those that patches reach, need at least.
    **settings
        Fields of `LMISettings`.

    Returns
    -------
    PreparedSource
        Called with another image of the same shape, it returns what `local_mutual_information`
        does: ``prepared(other, reduce="max")``.

    Raises
    ------
    UsageError
        A `ValueError`: the source is not floating point, empty, holds NaN or has no legal shape;
        the mask is not boolean or of another shape; or a setting is not legal.
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
    variant: str = "corrected",
    mask: Any = None,
    reduce: str = "max",
    memory: int = MEMORY,
) -> Any:
    """Best mutual information of each of the source's patches with those of another image nearby.

    On the CPU it runs in ``torch.get_num_threads()`` threads. If ``other`` asks for a gradient,
    the scores have one (``"corrected"``), so that they can steer an unconditional model.

    Parameters
    ----------
    source, other : arrays or Tensors of one shape
        (H, W), (D, H, W), (B, 1, H, W) or (B, 1, D, H, W), floating point. A diffusion model's
        x_t may leave [0, 1].
    patch_size, search_size, bins, bandwidth, normalized, variant
        See `LMISettings`. ``"corrected"``: both images clamped to [0, 1], edges replicated, every
        pixel of unit Parzen mass, so that 0 ≤ NMI ≤ 1. ``"published"`` (2D, patch and search 3):
        the layer of arXiv 2404.01102 with its defects: windows that straddle patches, and scores
        of 2 where the other image has no Parzen mass.
    mask, memory
        See `prepare`.
    reduce : {"max", "none", "offset"}
        What is kept of the offsets' scores.

    Returns
    -------
    array or Tensor, on the device of the input
        Normalised mutual information, or mutual information in bits, float32 (float64 with a
        gradient in a float64 ``other``). ``"max"``: the best offset's score, shape of the source.
        ``"none"``: those of all offsets, (B, offsets, *spatial), from the most negative offset,
        last axis fastest. ``"offset"``: the best offset, int64, (B, axes, *spatial), in pixels
        from the source's pixel to the other image's, the shortest of several (``"corrected"``).
        Without B if the images have none.

    Raises
    ------
    UsageError
        A `ValueError` that names the argument: integer arrays, NaN, shapes that differ, an even
        size, fewer than 2 bins, a bandwidth below a quarter of the bins' spacing, an unknown
        variant.
    """
    prepared = prepare(
        source,
        patch_size=patch_size,
        search_size=search_size,
        bins=bins,
        bandwidth=bandwidth,
        normalized=normalized,
        variant=variant,
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
    variant: str = "corrected",
) -> Any:
    """Mutual information of pairs of patches: the core of the operator, without windows.

    Parameters
    ----------
    x, y : arrays or Tensors, shape (N, *patch)
        Floating point values of N pairs of patches of any shape.
    bins, bandwidth, normalized, variant
        See `LMISettings`.

    Returns
    -------
    array or Tensor, float32, shape (N,)
        Computed in float64.

    Raises
    ------
    UsageError
        As `local_mutual_information`.
    """
    settings = LMISettings(bins=bins, bandwidth=bandwidth, normalized=normalized, variant=variant)
    from chiasm.lmi.prepared import pairwise

    return pairwise(x, y, settings)
