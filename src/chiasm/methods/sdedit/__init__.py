"""SDEdit noises the source and denoises it with the target's model (Meng et al., ICLR 2022)."""

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import EDIT_FROM, UnguidedOptions


class Options(UnguidedOptions):
    """The options of one run."""

    edit_from: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description=EDIT_FROM,
    )


METHOD = Method(
    name="sdedit",
    translator="chiasm.methods.sdedit.translator:SDEdit",
    options=Options,
    runs=("lmi-diffusion",),
)
