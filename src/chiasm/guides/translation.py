"""A finished translation as a guide, which a diffusion then refines."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import PrivateAttr, ValidationError
from torch import Tensor, nn

from chiasm import models
from chiasm.context import Context
from chiasm.errors import UsageError, explain
from chiasm.guides.base import Guide, PreparedGuide
from chiasm.preparation import GridSettings
from chiasm.registry import DEFAULT_MODEL


class TranslationGuide(Guide):
    """What a frozen one-step translator makes of the source, [0, 1] → [−1, 1]; one channel.

    In training the translator is given the target under random contrast, so that its result is
    about as good as it is in use.

    Parameters
    ----------
    model : str or dict
        Name or folder of a model that translates in one step, to begin a training with; in a
        trained model's own config, that model's config, its weights being among the model's.

    Raises
    ------
    UsageError
        A model that is a diffusion, or that is no model.
    CaseError
        A model that cannot be read.
    """

    name: Literal["translation"] = "translation"
    randomise: bool = True
    model: str | dict[str, Any] = DEFAULT_MODEL
    estimates_target: ClassVar[bool] = True
    _config: models.ModelConfig = PrivateAttr()
    _network: nn.Module = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        if isinstance(self.model, str):
            loaded = models.load(self.model, kind="translator", argument="guide.translation.model")
            self._config, self._network = loaded.config, loaded.module
        else:
            try:
                self._config = models.ModelConfig.model_validate(self.model)
            except ValidationError as error:
                raise ValueError(f"model: {error.errors()[0]['msg']}") from None
            self._network = models.build(self._config)
        if self._config.diffusion is not None:
            problem = "does not translate in one step"
            legal = "a model trained by a one-step method, such as regression"
            raise UsageError(explain("guide.translation.model", self._named, problem, legal))

    @property
    def _named(self) -> str:
        return self.model if isinstance(self.model, str) else self._config.method

    @property
    def network(self) -> nn.Module:
        """The translator's network."""
        return self._network

    def check(self, grid: GridSettings, context: Context) -> None:
        known = self._config
        if (known.grid, known.context) != (grid, context):
            problem = "sees another lattice than the model that it is to guide"
            legal = f"grid={known.grid.model_dump()} context={known.context.model_dump()}"
            raise UsageError(explain("guide.translation.model", self._named, problem, legal))

    def record(self) -> dict[str, Any]:
        own = self._config.model_dump(mode="json", exclude={"quantiles", "training", "labels"})
        return self.model_dump(mode="json") | {"model": own}

    def channels(self, images: int) -> int:
        return 1

    def prepare(self, source: Tensor) -> PreparedGuide:
        translated = self._network(source).float().clamp(0, 1) * 2 - 1
        return lambda sample, time: translated
