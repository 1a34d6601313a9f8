"""The translator of loss guidance."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.loss_guidance import LossGuidanceSettings, guided_by_loss
from chiasm.diffusion.sampling import Denoise
from chiasm.machine.device import Resources
from chiasm.methods.diffusion_translator import DiffusionTranslator, middle_image
from chiasm.methods.loss_guidance import Options
from chiasm.models import Model


class LossGuidance(DiffusionTranslator):
    """The network of LMI diffusion, with `chiasm.diffusion.loss_guidance` instead of the guides.

    It starts from pure noise, because the noised source would bring back the source's contrast.
    The guides are used only if the option ``guidance`` is above 0.
    """

    uses_defaults_of_model = False
    options: Options

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        given = {} if options.strength is None else {"strength": options.strength}
        self.loss_guidance = LossGuidanceSettings(**given)

    def settings(self) -> dict[str, Any]:
        own = {"guidance": self.options.guidance, "noise": self.options.noise}
        return super().settings() | own | {"loss_guidance": self.loss_guidance.model_dump()}

    def denoiser(self, source: Tensor, alphas_cumprod: Tensor) -> Denoise:
        module, guidance = self.model.module, self.options.guidance
        denoise = module.bind(
            source if guidance else None, alphas_cumprod=alphas_cumprod, guidance=guidance
        )
        return guided_by_loss(
            denoise, middle_image(source), module.codec.decode, self.loss_guidance
        )
