"""Regression runs a network once and refines the result with the volume's intensity mapping."""

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import DeterministicOptions


class Options(DeterministicOptions):
    """The options of one run."""

    iterations: int | None = Field(
        default=None,
        ge=1,
        description="The number of iterations, at least 1. In regression, each iteration after the "
        "first uses the intensity mapping of the translation before it. In stylegan, the "
        "iterations search for the latents of the image.",
    )


METHOD = Method(
    name="regression",
    translator="chiasm.methods.regression.translator:Regression",
    options=Options,
    objective="chiasm.methods.regression.objective:RegressionObjective",
    runs=("regression",),
    model_settings=("guides", "intensity_mapping", "detail_transfer"),
)
