"""The settings of local mutual information, and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from chiasm.errors import UsageError, explain

# Kernels narrower than this share of the bin spacing may miss values between two bins.
NARROWEST = 0.25
# With narrower kernels than this, marginal entropies may be near zero. Their ratio then magnifies
# rounding errors of single precision above 1e-5.
NARROW = 0.4

Binning = Literal["uniform", "quantile"]


def check_whole(argument: str, value: object, least: int, odd: bool = False) -> None:
    """Refuse a value that is not an integer, is less than ``least``, or is even but must be odd."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least or (odd and value % 2 == 0):  # type: ignore[operator]
        kind = "an odd integer" if odd else "an integer"
        raise UsageError(explain(argument, value, f"is not {kind}", f"{kind} of at least {least}"))


@dataclass(frozen=True)
class LMISettings:
    """Settings of the local mutual information operator (`chiasm.local_mutual_information`).

    Parameters
    ----------
    patch_size : int
        Side of the patches, in pixels; odd, at least 3.
    search_size : int
        Side of the window of offsets between the two patches, in pixels; odd. With 1, no offsets
        are searched.
    bins : int
        Number of Parzen bin centres, equally spaced on [0, 1] with both ends included; at least 2.
    bandwidth : float
        Standard deviation of the Gaussian Parzen kernel, in units of the [0, 1] scale; at least a
        quarter of the bin spacing 1/(bins − 1).
    normalized : bool
        Whether scores are normalised mutual information 2 MI/(H(x) + H(y)) or MI in bits.
    binning : {"uniform", "quantile"}
        What the [0, 1] scale is. With ``"uniform"`` it is the intensity itself. With
        ``"quantile"`` it is the rank of the intensity among the voxels of the image's own
        foreground, so that every bin holds an equal share of them. Scores then do not depend on
        the contrast of an image, as long as it is a strictly monotonic function of another.

    Raises
    ------
    UsageError
        A value is not legal; the message names it.
    """

    patch_size: int = 3
    search_size: int = 3
    bins: int = 27
    bandwidth: float = 8 / 255
    normalized: bool = True
    binning: Binning = "uniform"

    def __post_init__(self) -> None:
        check_whole("patch_size", self.patch_size, least=3, odd=True)
        check_whole("search_size", self.search_size, least=1, odd=True)
        check_whole("bins", self.bins, least=2)
        width = self.bandwidth
        if not isinstance(width, Real) or not (math.isfinite(width) and width > 0):
            what, legal = "is not a kernel width", "a finite number above 0"
            raise UsageError(explain("bandwidth", width, what, legal))
        if not isinstance(self.normalized, bool):
            raise UsageError(explain("normalized", self.normalized, "is not a bool", "True, False"))
        if self.binning not in get_args(Binning):
            legal = ", ".join(get_args(Binning))
            raise UsageError(explain("binning", self.binning, "is not known", legal))
        least = NARROWEST / (self.bins - 1)
        if width < least:
            what, legal = "is less than a quarter of the bins' spacing", f"at least {least}"
            raise UsageError(explain("bandwidth", width, what, legal))

    @property
    def narrow(self) -> bool:
        """Whether the kernel is too narrow for an accuracy of 1e-5 in single precision."""
        return self.bandwidth * (self.bins - 1) < NARROW

    def offsets(self, dimensions: int) -> int:
        """Number of patch offsets that are scored in ``dimensions`` spatial dimensions."""
        return self.search_size**dimensions
