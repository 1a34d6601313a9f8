"""Regression runs a network once and refines the result with the volume's intensity mapping."""

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import DeterministicOptions


class Options(DeterministicOptions):
    """The options of one run."""

    # None takes `intensity_mapping.iterations` from the model's config.json. The default for new
    # models is in `intensity_mapping.py`.
    iterations: int | None = Field(
        default=None,
        ge=1,
        description="The number of refinement iterations, at least 1. Each iteration after the "
        "first uses the intensity mapping of the translation before it.",
    )


METHOD = Method(
    name="regression",
    translator="chiasm.methods.regression.translator:Regression",
    options=Options,
    objective="chiasm.methods.regression.objective:RegressionObjective",
    runs=("regression",),
    model_settings=(
        *("guides", "intensity_mapping", "detail_transfer", "learn_error", "window"),
        *("error_network", "error_scale", "inference_planes"),
    ),
)
