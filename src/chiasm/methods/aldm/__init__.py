"""ALDM translates any modality to any other by latent diffusion (Kim & Park, WACV 2024)."""

from typing import Literal

from pydantic import Field, model_validator

from chiasm.errors import UsageError, explain
from chiasm.methods.method import Method
from chiasm.methods.options import GUIDANCE, STRENGTH, SamplingOptions


class Options(SamplingOptions):
    """The options of one run."""

    guidance: float | None = Field(
        default=None,
        ge=0,
        description=GUIDANCE,
    )
    start: Literal["noise", "estimate"] = Field(
        default="noise",
        description="With noise, the diffusion starts from noise. With estimate, the estimate of "
        "the latent translator is the result, and no diffusion is run.",
    )
    strength: float = Field(
        default=0.0,
        ge=0,
        description=STRENGTH,
    )

    @model_validator(mode="after")
    def _no_diffusion_no_options_of_it(self) -> "Options":
        if self.start != "estimate":
            return self
        given = {name: getattr(self, name) for name in self.model_fields_set}
        unused = [
            name for name in ("steps", "scheduler", "guidance") if given.get(name) is not None
        ]
        unused += ["strength"] * bool(given.get("strength"))
        unused += ["seed"] * (given.get("seed") is not None and self.samples == 1)
        for name in unused:
            problem = "changes nothing, because --start estimate runs no diffusion"
            legal = "--start noise, or leave this option out"
            raise UsageError(explain(f"--{name}", given[name], problem, legal))
        return self


METHOD = Method(
    name="aldm",
    translator="chiasm.methods.aldm.translator:ALDM",
    options=Options,
    objective="chiasm.methods.aldm.objective:ALDMObjective",
    runs=("aldm",),
    model_settings=("latent", "diffusion", "detail_transfer"),
)
