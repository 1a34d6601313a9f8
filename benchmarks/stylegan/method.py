"""StyleGAN inversion finds the image of the target's generator that agrees with the source.

It is trained by ``CHIASM_PLUGINS=benchmarks/stylegan/method.py chiasm train --method stylegan``.
Under the same environment variable, ``chiasm translate --model FOLDER`` runs the trained model.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from chiasm.methods.method import Method
from chiasm.methods.options import DeterministicOptions
from chiasm.registry import METHODS, NETWORKS

BENCHMARKS = str(Path(__file__).resolve().parents[1])
if BENCHMARKS not in sys.path:  # where the names registered below are imported from
    sys.path.append(BENCHMARKS)


class Options(DeterministicOptions):
    """The options of one run."""

    iterations: int | None = Field(
        default=None,
        ge=1,
        description="The number of iterations of the search for the image's latents, at least 1.",
    )


METHOD = Method(
    name="stylegan",
    translator="stylegan.translator:StyleGAN",
    options=Options,
    objective="stylegan.objective:StyleGANObjective",
    runs=("stylegan",),
    model_settings=("inversion",),
)

METHODS.add(
    "stylegan",
    "stylegan.method:METHOD",
    "The image of a generator of the target that fits the source best (inversion).",
)
NETWORKS.add(
    "style-generator",
    "stylegan.generator:style_generator",
    "Generates images from latent codes by modulated convolutions (Karras 2020).",
)
