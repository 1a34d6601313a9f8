"""SDEdit (Meng et al., ICLR 2022): noise the source, denoise with the target's model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.sampling import Denoise, signal_of
from chiasm.translators.lmi_diffusion import LMIDiffusion


class SDEdit(LMIDiffusion):
    """The source under noise of time ``edit_from``, denoised without any guide.

    Uses the same network as `LMIDiffusion`, whose guides are dropped in part of the training.
    """

    @property
    def share(self) -> float:
        return self.diffusion.edit_from

    def settings(self) -> dict[str, Any]:
        own = {key: value for key, value in super().settings().items() if key != "start"}
        return own | {"guidance": 0.0, "edit_from": self.share}

    def denoiser(self, source: Tensor, signal: Tensor) -> Denoise:
        return self.model.module.bind(None, signal=signal)

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        denoise = self.denoiser(source, signal_of(self._scheduler()))
        middle = source.shape[1] // 2
        image = self.model.module.codec.encode(source[:, middle : middle + 1])
        return self.solve(denoise, source, places, image, on_step)
