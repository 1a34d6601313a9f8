"""The translator of SDEdit."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.sampling import Denoise
from chiasm.methods.diffusion_translator import DiffusionTranslator, middle_image
from chiasm.methods.sdedit import Options


class SDEdit(DiffusionTranslator):
    """Adds the noise of time ``edit_from`` to the source and denoises it without a guide.

    It runs the network of LMI diffusion, which was trained in part without guides.
    """

    uses_defaults_of_model = False
    options: Options

    @property
    def share(self) -> float:
        return self.options.edit_from

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"edit_from": self.share, "noise": self.options.noise}

    def denoiser(self, source: Tensor, alphas_cumprod: Tensor) -> Denoise:
        return self.model.module.bind(None, alphas_cumprod=alphas_cumprod)

    def start(self, source: Tensor, slice_indices: list[int]) -> Tensor:
        return self.model.module.codec.encode(middle_image(source))
