"""Regression trained on pairs of source and target, the upper bound for zero-shot methods."""

from chiasm.methods.method import Method
from chiasm.methods.options import DeterministicOptions

METHOD = Method(
    name="paired",
    translator="chiasm.methods.baselines.paired.translator:Paired",
    options=DeterministicOptions,
    objective="chiasm.methods.baselines.paired.objective:PairedObjective",
    runs=("paired",),
    model_settings=("guides", "detail_transfer", "inference_planes"),
)
