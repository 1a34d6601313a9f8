"""Options of a run that several methods share. Each method combines those that it uses.

The description of a field is its help text. None stands for the model's own default.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from chiasm.errors import UsageError, explain
from chiasm.image.planes import Planes
from chiasm.registry import SCHEDULERS

# Help texts of options that several methods have with defaults of their own.
GUIDANCE = (
    "The weight of the guide, at least 0. 0 switches the guide off, and 1 is the weight of the "
    "training. With a larger weight the result follows the scan more closely."
)
EDIT_FROM = (
    "The share of the diffusion process that is run on a noised image, above 0 and at most 1. A "
    "larger share keeps less of the image. It is the scan for sdedit, and the result of --estimate "
    "for lmi-diffusion."
)
STRENGTH = (
    "The distance by which each estimate is moved towards agreement with the scan, in units of the "
    "sample (root mean square, at least 0)."
)


STEPS = "The number of diffusion steps, at least 1."


class Options(BaseModel):
    """The base of all options; it has none itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkOptions(Options):
    """Options of every method that runs a network."""

    detail: bool | None = Field(
        default=None,
        description="Detail transfer adds the fine detail of the scan to the translation where "
        "both agree.",
    )
    planes: Planes | None = Field(
        default=None,
        description="The network is run on axial, coronal or sagittal slices. With orthogonal, "
        "the result is the mean of all three planes.",
    )
    samples: int = Field(
        default=1,
        ge=1,
        description="Each scan is translated this many times (at least 1). The result is the "
        "mean, and the standard deviation is written beside it.",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        description="The seed of all random numbers, at least 0.",
        json_schema_extra={"shown_default": "0"},
    )


class DeterministicOptions(NetworkOptions):
    """Options of a network that draws no noise.

    With several ``samples``, the seed draws the simulated acquisitions. With one sample it would
    change nothing and is refused.
    """

    @model_validator(mode="after")
    def _seed_is_used(self) -> DeterministicOptions:
        if self.seed is not None and self.samples == 1:
            problem = "changes nothing, because this method draws no random numbers for one sample"
            raise UsageError(explain("--seed", self.seed, problem, "with --samples of at least 2"))
        return self


class SamplingOptions(NetworkOptions):
    """Options of every method that runs a diffusion process."""

    steps: int | None = Field(default=None, ge=1, description=STEPS)
    scheduler: str | None = Field(
        default=None, description="The scheduler of the diffusion; `chiasm info` lists them."
    )

    @field_validator("scheduler")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        return name if name is None else SCHEDULERS.check(name, "--scheduler")


class SliceNoiseOptions(SamplingOptions):
    """Options of every method that runs a diffusion process on slices."""

    noise: Literal["slice", "shared"] = Field(
        default="slice",
        description="With slice, each slice has its own random noise. With shared, all slices of "
        "a scan have the same noise.",
    )


class UnguidedOptions(SliceNoiseOptions):
    """Options of every method that runs the model of LMI diffusion without its guides.

    The model's own number of steps is that of the guided process, which needs fewer.
    """

    steps: int | None = Field(default=8, ge=1, description=STEPS)
