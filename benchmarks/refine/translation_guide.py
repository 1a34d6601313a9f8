"""A finished translation as a guide of a diffusion, for comparison.

It is selected by ``CHIASM_PLUGINS=benchmarks/refine/translation_guide.py chiasm train …
'guides=[{name: translation}]'``.
"""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from chiasm import models
from chiasm.errors import UsageError, explain
from chiasm.guides.base import Guide, PreparedGuide
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.registry import DEFAULT_MODEL, GUIDES

BENCHMARKS = str(Path(__file__).resolve().parents[1])
if BENCHMARKS not in sys.path:  # where the name registered below is imported from
    sys.path.append(BENCHMARKS)
_ARGUMENT = "guide.translation.model"


class TranslationGuide(Guide):
    """What a frozen one-step translator makes of the source, [0, 1] → [−1, 1]; one channel.

    In training the translator is given the target under random contrast, so that its result is
    about as good as it is in use. A translator with an intensity mapping makes its first iteration
    alone: a guide sees one sample, and the mapping of the second iteration needs a whole volume.

    Parameters
    ----------
    model : str or dict
        Name or folder of a model that translates in one step, to begin a training with; in a
        trained model's own config, that model's config, its weights being among the model's.
    """

    name: Literal["translation"] = "translation"
    randomise: bool = True
    model: str | dict[str, Any] = DEFAULT_MODEL

    @cached_property
    def translator(self) -> tuple[models.ModelConfig, nn.Module]:
        """The model's config, and its network: with the named model's weights, or fresh ones.

        Raises
        ------
        UsageError
            No model, or one that takes more than one step.
        CaseError
            A model that cannot be read.
        """
        if isinstance(self.model, str):
            loaded = models.load(self.model, kind="translator", argument=_ARGUMENT)
            config, network = loaded.config, loaded.module
        else:
            config = models.ModelConfig.model_validate(self.model)
            network = models.build(config)
        if "diffusion" in config.settings:
            name = self.model if isinstance(self.model, str) else config.method
            legal = "a model trained by a one-step method, such as regression"
            raise UsageError(explain(_ARGUMENT, name, "takes more than one step", legal))
        return config, network

    @property
    def network(self) -> nn.Module:
        """The translator's network."""
        return self.translator[1]

    def check(self, grid: GridSettings, context: Context) -> None:
        known, _ = self.translator
        if (known.grid, known.context) != (grid, context):
            problem = "sees another lattice than the model that it is to guide"
            legal = f"grid={known.grid.model_dump()} context={known.context.model_dump()}"
            name = self.model if isinstance(self.model, str) else known.method
            raise UsageError(explain(_ARGUMENT, name, problem, legal))

    def record(self) -> dict[str, Any]:
        leave_out = {"quantiles", "training", "labels"}
        own = self.translator[0].model_dump(mode="json", exclude=leave_out)
        return self.model_dump(mode="json") | {"model": own}

    def channels(self, images: int, spatial_dims: int) -> int:
        return 1

    def prepare(self, source: Tensor) -> PreparedGuide:
        translated = self.network(source).float().clamp(0, 1) * 2 - 1
        return lambda sample, time: translated


GUIDES.add(
    "translation",
    "refine.translation_guide:TranslationGuide",
    "What a frozen one-step translator makes of the source.",
)
