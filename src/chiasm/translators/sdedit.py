"""SDEdit (Meng et al., ICLR 2022): noise the source, denoise with the target's model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chiasm.diffusion.sampling import generators, sample, signal_of
from chiasm.translators.lmi_diffusion import LMIDiffusion


class SDEdit(LMIDiffusion):
    """The source under noise of time ``edit_from``, denoised without any guide.

    Uses the same network as `LMIDiffusion`, whose guides are dropped in part of the training.
    """

    def evaluations(self) -> int:
        return max(1, self.diffusion.steps - round(self.diffusion.steps * (1 - self._share)))

    @property
    def _share(self) -> float:
        return self.diffusion.edit_from

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"guidance": 0.0, "edit_from": self._share}

    def run(self, source: Tensor, places: list[int], on_step: Any) -> Tensor:
        chosen, module, scheduler = self.diffusion, self.model.module, self._scheduler()
        denoise = module.bind(None, signal=signal_of(scheduler))
        middle = source.shape[1] // 2
        start = module.codec.encode(source[:, middle : middle + 1])
        streams = generators(self.options.seed, places)
        result = sample(
            denoise,
            scheduler,
            chosen.steps,
            start,
            streams,
            from_time=self._share,
            on_step=on_step,
        )
        return module.codec.decode(result)
