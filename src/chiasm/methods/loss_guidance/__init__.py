"""Loss guidance moves an unguided diffusion along the gradient of LMI with the source."""

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import GUIDANCE, STRENGTH, UnguidedOptions


class Options(UnguidedOptions):
    """The options of one run."""

    strength: float | None = Field(
        default=None,
        ge=0,
        description=STRENGTH,
    )
    guidance: float = Field(
        default=0.0,
        ge=0,
        description=GUIDANCE,
    )


METHOD = Method(
    name="loss-guidance",
    translator="chiasm.methods.loss_guidance.translator:LossGuidance",
    options=Options,
    runs=("lmi-diffusion",),
)
