"""LMI diffusion makes the target from noise, guided by the source (arXiv 2404.01102)."""

from typing import Any

from pydantic import Field, model_validator

from chiasm.errors import UsageError, explain
from chiasm.methods.method import Method
from chiasm.methods.options import EDIT_FROM, GUIDANCE, SliceNoiseOptions

_SHARE = 0.5  # of the diffusion process, where an estimate is given without a share


class Options(SliceNoiseOptions):
    """The options of one run."""

    guidance: float | None = Field(
        default=None,
        ge=0,
        description=GUIDANCE,
    )
    estimate: str | None = Field(
        default=None,
        description="The diffusion starts from the translation by this model, to which noise is "
        "added, instead of from pure noise. It is a shipped model or a model folder.",
        json_schema_extra={"shown_default": "none"},
    )
    edit_from: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=EDIT_FROM,
        json_schema_extra={"shown_default": _SHARE},
    )

    @model_validator(mode="before")
    @classmethod
    def _estimate_has_a_share(cls, given: Any) -> Any:
        if given.get("estimate") is not None and given.get("edit_from") is None:
            return given | {"edit_from": _SHARE}
        return given

    @model_validator(mode="after")
    def _share_has_an_estimate(self) -> "Options":
        if self.estimate is None and self.edit_from is not None:
            problem = "changes nothing, because the diffusion starts from pure noise"
            raise UsageError(
                explain("--edit-from", self.edit_from, problem, "with --estimate MODEL")
            )
        return self


METHOD = Method(
    name="lmi-diffusion",
    translator="chiasm.methods.lmi_diffusion.translator:LMIDiffusion",
    options=Options,
    objective="chiasm.methods.lmi_diffusion.objective:DiffusionObjective",
    runs=("lmi-diffusion",),
    model_settings=("guides", "diffusion", "detail_transfer", "inference_planes"),
)
