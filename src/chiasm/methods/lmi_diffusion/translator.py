"""The translator of LMI diffusion."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chiasm.diffusion.denoiser import Denoiser, DiffusionSettings
from chiasm.diffusion.sampling import Denoise
from chiasm.errors import UsageError, explain
from chiasm.guides import GuideSet, guide_from_config
from chiasm.image.preparation import Prepared
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.machine.progress import Advance
from chiasm.methods.base import Translation, Translator
from chiasm.methods.diffusion_translator import DiffusionTranslator, middle_image
from chiasm.methods.lmi_diffusion import Options
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings


class LMIDiffusion(DiffusionTranslator):
    """Diffusion to the target; the source guides every network evaluation.

    It starts from pure noise, or from the noised translation by another model (``estimate``), as
    SDEdit (Meng et al., ICLR 2022) starts from the noised scan.

    Raises
    ------
    UsageError
        The estimate cannot be loaded, or it makes another target.
    """

    options: Options
    # The estimate as a volume, and as network inputs (N, 1, \\*spatial) in [0, 1].
    estimated: Volume | None = None
    begin: Tensor | None = None

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        self.estimator = None if options.estimate is None else self._estimator(options.estimate)

    def _estimator(self, name: str) -> Translator:
        from chiasm.methods.load import load_translator

        made = load_translator(name, resources=self.resources)
        target = self.model.config.target
        if made.model.config.target != target:
            problem = f"makes {made.model.config.target}"
            legal = f"a model that makes {target}, as {self.model.name} does"
            raise UsageError(explain("--estimate", name, problem, legal))
        return made

    @staticmethod
    def build(config: ModelConfig) -> Denoiser:
        """The denoiser of a config, with fresh weights."""
        return Denoiser(
            NetworkSettings.model_validate(config.network),
            DiffusionSettings.model_validate(config.settings.get("diffusion") or {}),
            GuideSet([guide_from_config(one) for one in config.settings.get("guides", [])]),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    @property
    def models(self) -> tuple[Model, ...]:
        return super().models if self.estimator is None else (self.model, *self.estimator.models)

    @property
    def share(self) -> float:
        return self.options.edit_from or 1.0  # None without an estimate: from pure noise

    def settings(self) -> dict[str, Any]:
        own: dict[str, Any] = {"guidance": self.diffusion.guidance, "noise": self.options.noise}
        if self.estimator is not None:
            used = self.estimator
            own["estimate"] = {"model": used.model.name, "fingerprint": used.fingerprint}
            own["edit_from"] = self.share
        return super().settings() | own

    def translate_canonical(self, volume: Volume, mask: np.ndarray) -> Translation:
        if self.estimator is None:
            return super().translate_canonical(volume, mask)
        translator = copy(self)
        translator.estimated = self.estimator.translate_canonical(volume, mask).volume
        return super(LMIDiffusion, translator).translate_canonical(volume, mask)

    def _translated(self, index: int, view: Prepared, device: Any, bar: Advance) -> np.ndarray:
        if self.estimated is None:
            return super()._translated(index, view, device, bar)
        translator = copy(self)
        estimate = replace(view, volume=self.estimated, intensity=self.target).samples()
        translator.begin = middle_image(torch.from_numpy(estimate))
        return super(LMIDiffusion, translator)._translated(index, view, device, bar)

    def start(self, source: Tensor, slice_indices: list[int]) -> Tensor | None:
        if self.begin is None:
            return None
        return self.model.module.codec.encode(self.begin[slice_indices].to(source))

    def denoiser(self, source: Tensor, alphas_cumprod: Tensor) -> Denoise:
        return self.model.module.bind(
            source, alphas_cumprod=alphas_cumprod, guidance=self.diffusion.guidance
        )
