"""LMI diffusion makes the target from noise, guided by the source (arXiv 2404.01102)."""

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import GUIDANCE, SliceNoiseOptions


class Options(SliceNoiseOptions):
    """The options of one run."""

    guidance: float | None = Field(
        default=None,
        ge=0,
        description=GUIDANCE,
    )


METHOD = Method(
    name="lmi-diffusion",
    translator="chiasm.methods.lmi_diffusion.translator:LMIDiffusion",
    options=Options,
    objective="chiasm.methods.lmi_diffusion.objective:DiffusionObjective",
    runs=("lmi-diffusion",),
    model_settings=("guides", "diffusion", "detail_transfer"),
)
