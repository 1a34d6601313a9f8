"""What defines a local mutual information map: one dataclass, checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from chiasm.errors import UsageError, explain

VARIANTS = ("corrected", "published")
# The published layer knows this window alone (Wang et al., arXiv 2404.01102).
PUBLISHED_SIZE = 3
# Kernels narrower than this many bins may miss the values between two of them.
NARROWEST = 0.25
# Narrower than this, marginal entropies may be near zero, and their ratio then magnifies the
# rounding of single precision above 1e-5.
NARROW = 0.4


def check_whole(argument: str, value: object, least: int, odd: bool = False) -> None:
    """Refuse what is no integer, or one that is too small or even."""
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
        Side of the patches that are compared, in pixels; odd, at least 3.
    search_size : int
        Side of the window of offsets between the two patches, in pixels; odd, 1 for none.
    bins : int
        Parzen bin centres, equally spaced on [0, 1], both ends included; at least 2.
    bandwidth : float
        Standard deviation of the Gaussian Parzen kernel, in units of the [0, 1] scale; at least a
        quarter of the bins' spacing 1/(bins − 1) (``"corrected"``).
    normalized : bool
        Normalised mutual information 2 MI/(H(x) + H(y)) if true, else MI in bits.
    variant : {"corrected", "published"}
        ``"published"`` reproduces the layer of Wang et al. with its window and mass defects.

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
    variant: str = "corrected"

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
        if self.variant not in VARIANTS:
            legal = ", ".join(VARIANTS)
            raise UsageError(explain("variant", self.variant, "is not a known variant", legal))
        least = NARROWEST / (self.bins - 1)
        if self.variant == "corrected" and width < least:
            what, legal = "is less than a quarter of the bins' spacing", f"at least {least}"
            raise UsageError(explain("bandwidth", width, what, legal))
        if self.variant == "published":
            for name in ("patch_size", "search_size"):
                if getattr(self, name) != PUBLISHED_SIZE:
                    what = "is not what the published variant knows"
                    raise UsageError(
                        explain(name, getattr(self, name), what, f"{PUBLISHED_SIZE} alone")
                    )

    @property
    def narrow(self) -> bool:
        """Whether the kernel is too narrow for single precision to hold 1e-5."""
        return self.bandwidth * (self.bins - 1) < NARROW

    def offsets(self, dimensions: int) -> int:
        """Number of patch offsets that are scored in so many spatial dimensions."""
        return self.search_size**dimensions
