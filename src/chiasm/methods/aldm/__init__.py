"""ALDM translates any modality to any other by latent diffusion (Kim & Park, WACV 2024)."""

from typing import Literal

from pydantic import Field, model_validator

from chiasm.errors import UsageError, explain
from chiasm.methods.method import Method
from chiasm.methods.options import SamplingOptions


class Options(SamplingOptions):
    """The options of one run."""

    guidance: float | None = Field(
        default=None,
        ge=0,
        description="The weight of the guide, at least 0. 0 switches the guide off, and 1 is "
        "the weight of the training. With a larger weight the result follows the scan more "
        "closely.",
    )
    start: Literal["noise", "estimate"] = Field(
        default="noise",
        description="With noise, the diffusion starts from noise. With estimate, the estimate of "
        "the latent translator is the result, and no diffusion is run.",
    )
    strength: float = Field(
        default=0.0,
        ge=0,
        description="The distance by which each estimate is moved towards agreement with the "
        "scan, in units of the sample (root mean square, at least 0).",
    )

    @model_validator(mode="after")
    def _no_diffusion_no_options_of_it(self) -> "Options":
        if self.start != "estimate":
            return self
        for name in ("strength", "steps", "scheduler", "guidance"):
            if name in self.model_fields_set and getattr(self, name) not in (None, 0.0):
                problem = "changes nothing, because --start estimate runs no diffusion"
                legal = "--start noise, or leave this option out"
                raise UsageError(explain(f"--{name}", getattr(self, name), problem, legal))
        return self


METHOD = Method(
    name="aldm",
    translator="chiasm.methods.aldm.translator:ALDM",
    options=Options,
    objective="chiasm.methods.aldm.objective:ALDMObjective",
    runs=("aldm",),
    model_settings=("latent", "diffusion", "detail_transfer"),
)
