"""Steering: the target's model from pure noise, steered by the source at every step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.sampling import Denoise
from chiasm.diffusion.steering import steer
from chiasm.translators.lmi_diffusion import LMIDiffusion


class Steered(LMIDiffusion):
    """`LMIDiffusion` with `chiasm.diffusion.steering` in the place of the guides.

    It begins at pure noise, not at the noised source, whose contrast is what is to be lost. The
    guides are dropped unless the run asks for a guidance.
    """

    steers = True

    @property
    def _guidance(self) -> float:
        return self.options.guidance or 0.0

    def settings(self) -> dict[str, Any]:
        steering = self.diffusion.steering.model_dump()
        return super().settings() | {"guidance": self._guidance, "steering": steering}

    def denoiser(self, source: Tensor, signal: Tensor) -> Denoise:
        module, middle = self.model.module, source.shape[1] // 2
        guided_by = source if self._guidance else None
        denoise = module.bind(guided_by, signal=signal, guidance=self._guidance)
        own = source[:, middle : middle + 1]
        return steer(denoise, own, module.codec.decode, self.diffusion.steering)
