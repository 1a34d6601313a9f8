"""Loss guidance moves an unguided diffusion along the gradient of LMI with the source."""

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import SliceNoiseOptions


class Options(SliceNoiseOptions):
    """The options of one run."""

    strength: float | None = Field(
        default=None,
        ge=0,
        description="The distance by which each estimate is moved towards agreement with the "
        "scan, in units of the sample (root mean square, at least 0).",
    )
    guidance: float = Field(
        default=0.0,
        ge=0,
        description="The weight of the guide, at least 0. 0 switches the guide off, and 1 is "
        "the weight of the training. With a larger weight the result follows the scan more "
        "closely.",
    )


METHOD = Method(
    name="loss-guidance",
    translator="chiasm.methods.loss_guidance.translator:LossGuidance",
    options=Options,
    runs=("lmi-diffusion",),
)
