"""From a scan's units to the [0, 1] a network works in, and exactly back."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator

from chiasm.errors import CaseError, explain
from chiasm.head import background_value, head_mask
from chiasm.volume import Volume


class IntensityMap(BaseModel):
    """A recorded, affine and invertible map of intensities: ``low`` ↔ 0, ``high`` ↔ 1.

    Parameters
    ----------
    low, high : float
        What 0 and 1 mean, in ``units``; low < high.
    units : str
        Of the scan, e.g. ``"HU"`` or ``"a.u."``.
    background : float
        What lies outside the head, in ``units``.

    Raises
    ------
    ValueError
        A number is not finite, or low is not below high.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: FiniteFloat
    high: FiniteFloat
    units: str = "a.u."
    background: FiniteFloat = 0.0

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self

    def forward(self, array: np.ndarray) -> np.ndarray:
        """Units → [0, 1], as float32; not clipped, so what lies beyond low and high is kept."""
        scaled = (np.asarray(array, dtype=np.float64) - self.low) / (self.high - self.low)
        return scaled.astype(np.float32)

    def inverse(self, array: np.ndarray) -> np.ndarray:
        """[0, 1] → units, as float32; the inverse of `forward`."""
        scaled = np.asarray(array, dtype=np.float64) * (self.high - self.low) + self.low
        return scaled.astype(np.float32)


class IntensityPolicy(BaseModel):
    """How the map of a scan is found.

    Parameters
    ----------
    kind : {"percentiles", "window"}
        From percentiles within the head, for scales that are arbitrary; or fixed, for absolute
        ones.
    low, high : float
        Percentiles in [0, 100], or the ends of the window in the scan's units; low < high.

    Raises
    ------
    ValueError
        Low is not below high, or a percentile is beyond 0 or 100.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["percentiles", "window"] = "percentiles"
    low: FiniteFloat = 0.5
    high: FiniteFloat = 99.5

    @model_validator(mode="after")
    def _range_is_legal(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.kind == "percentiles" and not 0 <= self.low < self.high <= 100:
            raise ValueError(f"percentiles {self.low} and {self.high} are not within 0 and 100")
        return self

    def fit(self, volume: Volume, mask: np.ndarray | None = None) -> IntensityMap:
        """The map of one scan.

        Parameters
        ----------
        volume : Volume
        mask : bool array, shape of the volume, optional
            The head or the brain; by default `chiasm.head.head_mask`.

        Returns
        -------
        IntensityMap
            In the volume's units, with the background that surrounds its head.

        Raises
        ------
        CaseError
            The mask is empty or has another shape, or the head has no contrast.
        """
        mask = head_mask(volume) if mask is None else np.asarray(mask, dtype=bool)
        if mask.shape != volume.shape:
            problem = f"does not fit the image's shape {volume.shape}"
            raise CaseError(explain("--mask", mask.shape, problem, "a mask on the image's grid"))
        if not mask.any():
            raise CaseError(explain("--mask", "head", "is empty", "a mask of at least one voxel"))
        low, high = self.low, self.high
        if self.kind == "percentiles":
            low, high = (float(v) for v in np.percentile(volume.array[mask], (low, high)))
        if not low < high:
            problem = f"has no contrast inside the head (all {low:g})"
            raise CaseError(explain("image", repr(volume), problem, "a scan, and a --mask of it"))
        background = background_value(volume)
        return IntensityMap(low=low, high=high, units=volume.units, background=background)


# Only modalities whose scale is absolute need a row; the others take the default policy.
# CT: cerebrospinal fluid, white and grey matter and blood lie between 0 and 90 HU (noise a few
# HU). A wider window would leave grey and white, 12 HU apart, almost one grey value.
_POLICIES = {"CT": IntensityPolicy(kind="window", low=-20, high=100)}


def policy_for(modality: str | None) -> IntensityPolicy:
    """The policy of a modality (a BIDS suffix, or None where unknown)."""
    return _POLICIES.get(modality or "", IntensityPolicy())


def on_unit_range(volume: Volume, mask: np.ndarray) -> Volume:
    """The volume with its intensities laid on [0, 1] by its own map; not clipped.

    MR intensities have no scale of their own: two scans of one person differ by the receiver's
    gain alone. Images are therefore compared on this range.

    Parameters
    ----------
    volume : Volume
    mask : bool array, shape of the volume
        The head.
    """
    unit = policy_for(volume.modality).fit(volume, mask).forward(volume.array)
    return volume.with_array(unit, units="of own range")
