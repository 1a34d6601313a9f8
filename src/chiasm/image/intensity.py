"""The map from the units of a scan to the range [0, 1] of a network, and its inverse."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator

from chiasm.errors import CaseError, explain
from chiasm.image.foreground import background_value, foreground_mask
from chiasm.image.volume import Volume


class IntensityMap(BaseModel):
    """An affine, invertible map of intensities: ``low`` ↔ 0, ``high`` ↔ 1.

    Parameters
    ----------
    low, high : float
        The intensities that become 0 and 1, in ``units``; low < high.
    units : str
        Units of the scan, e.g. ``"HU"`` or ``"a.u."``.
    background : float
        The intensity outside the foreground, in ``units``.

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
        """Units → [0, 1], as float32. Values beyond low and high are not clipped."""
        scaled = (np.asarray(array, dtype=np.float64) - self.low) / (self.high - self.low)
        return scaled.astype(np.float32)

    def inverse(self, array: np.ndarray) -> np.ndarray:
        """[0, 1] → units, as float32; the inverse of `forward`."""
        scaled = np.asarray(array, dtype=np.float64) * (self.high - self.low) + self.low
        return scaled.astype(np.float32)

    def difference(self) -> IntensityMap:
        """The map of differences of intensities, such as errors: 0 stays 0, also outside."""
        return IntensityMap(low=0, high=self.high - self.low, units=self.units, background=0)


class IntensityPolicy(BaseModel):
    """How the intensity map of a scan is found.

    Parameters
    ----------
    kind : {"percentiles", "window"}
        Whether low and high are percentiles within the foreground, for arbitrary units, or the
        ends of a fixed window, for absolute units.
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
        """Find the intensity map of one scan.

        Parameters
        ----------
        volume : Volume
        mask : bool array, shape of the volume, optional
            The foreground; by default `chiasm.image.foreground.foreground_mask` finds it.

        Returns
        -------
        IntensityMap
            In the volume's units, with the background of the volume.

        Raises
        ------
        CaseError
            The mask is empty or has another shape, or the foreground has no contrast.
        """
        mask = foreground_mask(volume) if mask is None else np.asarray(mask, dtype=bool)
        if mask.shape != volume.shape:
            problem = f"does not fit the image's shape {volume.shape}"
            raise CaseError(explain("--mask", mask.shape, problem, "a mask on the image's grid"))
        if not mask.any():
            legal = "a mask of at least one voxel"
            raise CaseError(explain("--mask", "foreground", "is empty", legal))
        low, high = self.low, self.high
        if self.kind == "percentiles":
            low, high = (float(v) for v in np.percentile(volume.array[mask], (low, high)))
        if not low < high:
            problem = f"has no contrast inside the foreground (all {low:g})"
            legal = "a scan with contrast, and a --mask of its foreground"
            raise CaseError(explain("image", repr(volume), problem, legal))
        background = background_value(volume)
        return IntensityMap(low=low, high=high, units=volume.units, background=background)


# Only modalities in absolute units need an entry; the others use the default policy.
# In CT, cerebrospinal fluid, white and grey matter and blood lie between 0 and 90 HU (noise is a
# few HU). Grey and white matter, 12 HU apart, would look almost alike in a wider window.
_POLICIES = {"CT": IntensityPolicy(kind="window", low=-20, high=100)}


def policy_for(modality: str | None) -> IntensityPolicy:
    """The policy of a modality (a BIDS suffix, or None where unknown)."""
    return _POLICIES.get(modality or "", IntensityPolicy())


def on_unit_range(volume: Volume, mask: np.ndarray) -> Volume:
    """The volume with its intensities mapped to [0, 1] by its own intensity map, not clipped.

    MR intensities are in arbitrary units: the receiver's gain alone makes two scans of one
    subject differ. Images are therefore compared on this range.

    Parameters
    ----------
    volume : Volume
    mask : bool array, shape of the volume
        The foreground.
    """
    unit = policy_for(volume.modality).fit(volume, mask).forward(volume.array)
    return volume.with_array(unit, units="of own range")
