"""The translator of ALDM."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor

from chiasm.diffusion import loss_guidance
from chiasm.diffusion.loss_guidance import LossGuidanceSettings, guided_by_loss
from chiasm.diffusion.sampling import Denoise
from chiasm.errors import UsageError, explain
from chiasm.machine.device import Resources
from chiasm.machine.memory import peak_bytes
from chiasm.methods.aldm import Options
from chiasm.methods.aldm.denoiser import (
    LatentDenoiser,
    LatentDiffusionSettings,
    LatentSettings,
)
from chiasm.methods.diffusion_translator import DiffusionTranslator, middle_image, sample_shape
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings


class ALDM(DiffusionTranslator):
    """Diffusion in the latent of a VQ-GAN, from any modality to any other.

    It is conditioned on the source's latent, the latent translator's estimate, and the target's
    label. It translates whole volumes or slices, as the model's context says. With ``strength``
    above 0, every estimate is moved along the gradient of its local mutual information with the
    source, through the decoder. This helps with a source modality that the model has never seen.
    """

    options: Options
    diffusion_settings = LatentDiffusionSettings
    modality: str | None = None

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        self.loss_guidance = LossGuidanceSettings(strength=options.strength)
        # Without diffusion, samples differ by the acquisition, as in other methods without noise.
        self.draws_noise = options.start == "noise"
        latent = model.settings(LatentSettings, "latent")
        if options.start == "estimate" and latent.translator is None:
            problem = f"does not exist in the model {model.name}"
            raise UsageError(explain("--start", options.start, problem, "noise"))

    @staticmethod
    def build(config: ModelConfig) -> LatentDenoiser:
        """The denoiser of a config, with fresh weights."""
        return LatentDenoiser(
            NetworkSettings.model_validate(config.network),
            LatentDiffusionSettings.model_validate(config.settings.get("diffusion") or {}),
            LatentSettings.model_validate(config.settings.get("latent") or {}),
            spatial_dims=config.context.spatial_dims,
            modalities=len(config.targets),
        )

    @property
    def share(self) -> float:
        return 0.0 if self.options.start == "estimate" else 1.0

    def settings(self) -> dict[str, Any]:
        guided = self.loss_guidance.model_dump() if self.options.strength else None
        own: dict[str, Any] = {"to": self.model.config.target, "start": self.options.start}
        own |= {"guidance": self.diffusion.guidance, "loss_guidance": guided}
        if getattr(self.model.module.translator, "tells_sources_apart", False):
            known = self.modality in self.model.config.targets
            own["source_taken_as"] = self.modality if known else "any other modality"
        return super().settings() | own

    def told(self, modality: str | None) -> ALDM:
        translator = copy(self)
        translator.modality = modality
        return translator

    def target_index(self, source: Tensor) -> Tensor:
        """The index of the target modality for each sample, (B,)."""
        index = list(self.model.config.targets).index(self.model.config.target)
        return torch.full((len(source),), index, device=source.device)

    def source_index(self, source: Tensor) -> list[int]:
        """The index of each sample's modality; an unknown one has the number of modalities."""
        known = list(self.model.config.targets)
        index = known.index(self.modality) if self.modality in known else len(known)
        return [index] * len(source)

    def memory(self, shape: tuple[int, ...]) -> int:
        """Bytes of one network evaluation and one decoding; loss guidance adds the gradient."""
        source = torch.zeros(1, device=self.model.module.alphas_cumprod.device).expand(shape)
        peak = peak_bytes(self._once, middle_image(source))
        return peak + loss_guidance.MEMORY if self.options.strength else peak

    def _once(self, own: Tensor) -> None:
        module = self.model.module
        denoise = module.bind(
            own, self.target_index(own), self.source_index(own), guidance=self.diffusion.guidance
        )
        time = torch.zeros(len(own), dtype=torch.long, device=own.device)
        x_t = own.new_zeros((len(own), *sample_shape(module, own)))
        x0 = denoise(x_t, time)
        if not self.options.strength:
            module.codec.decode(x0)
            return
        with torch.enable_grad():
            x0 = x0.requires_grad_()
            torch.autograd.grad(module.codec.decode(x0).sum(), x0)

    def denoiser(self, source: Tensor, alphas_cumprod: Tensor) -> Denoise:
        module, own = self.model.module, middle_image(source)
        denoise = module.bind(
            own,
            self.target_index(own),
            self.source_index(own),
            alphas_cumprod=alphas_cumprod,
            guidance=self.diffusion.guidance,
        )
        if not self.options.strength:
            return denoise
        return guided_by_loss(denoise, own, module.codec.decode, self.loss_guidance)

    def run(self, source: Tensor, slice_indices: list[int], on_step: Any) -> Tensor:
        if self.options.start != "estimate":
            return super().run(source, slice_indices, on_step)
        module = self.model.module
        condition = module.condition(
            middle_image(source), self.target_index(source), self.source_index(source)
        )
        on_step(1, 1)
        return module.codec.decode(condition.like)
