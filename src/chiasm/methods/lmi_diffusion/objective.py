"""The training of a denoiser of the target, with guides computed from the target itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from chiasm.diffusion.denoiser import DiffusionSettings
from chiasm.methods.detail_transfer import DetailTransferSettings
from chiasm.training.batch import Batch
from chiasm.training.diffusion import DiffusionTraining, random_times
from chiasm.training.objective import GuidedObjective
from chiasm.training.settings import ContrastTraining, GuidedTraining


class Settings(GuidedTraining, ContrastTraining, DiffusionTraining):
    """Settings of the training of LMI diffusion.

    Parameters
    ----------
    diffusion : DiffusionSettings
    detail_transfer : DetailTransferSettings or None
        None switches detail transfer off unless a run asks for it.
    """

    network: dict[str, Any] = {
        "name": "diffusion-unet",
        "arguments": {
            "channels": [32, 64, 128, 128],
            "num_res_blocks": 1,
            "attention_levels": [False, False, False, False],
            "num_head_channels": 32,
            "norm_num_groups": 16,
            "use_flash_attention": True,
        },
    }
    guides: list[dict[str, Any]] = [{"name": "lmi"}]
    diffusion: DiffusionSettings = DiffusionSettings()
    detail_transfer: DetailTransferSettings | None = None

    def check(self) -> None:
        super().check()
        self.diffusion.schedule.scheduler(self.diffusion.scheduler, self.diffusion.parameterisation)


class DiffusionObjective(GuidedObjective):
    """Mean absolute error of the network's prediction at random times.

    Times are drawn with a density proportional to t^(timestep_bias − 1). Early training needs the
    noisy times, where the guide alone shows the anatomy. ``min_snr`` weighs times as in Hang et
    al. (ICCV 2023); the weight of the absolute error is the root of that of the squared error. In a
    share of the samples the guide is dropped, so that the same network also denoises without a
    guide (for guidance scales and SDEdit).
    """

    kind = "translator"
    method = "lmi-diffusion"
    settings_class = Settings
    settings: Settings

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        denoiser, size = self.module, len(batch.image)
        device = batch.image.device
        count = len(denoiser.alphas_cumprod)
        time = random_times(size, count, self.settings.timestep_bias, generator).to(device)
        x0 = denoiser.codec.encode(batch.centre)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        alpha, sigma = denoiser.amplitudes(time, denoiser.alphas_cumprod, x0.ndim)
        x_t = alpha * x0 + sigma * noise

        other = self.randomised(batch, generator).image if denoiser.guides.randomised else None
        guide = denoiser.guides.prepare(batch.image, other)
        with torch.no_grad():
            channels = denoiser.conditioning(guide, x_t, time)
        kept = torch.rand(size, generator=generator) >= self.settings.guide_dropout
        channels = channels * kept.view(-1, *(1,) * (x0.ndim - 1)).to(device)

        output = denoiser.predict(x_t, time, channels)
        target = denoiser.parameterisation.target(x0, noise, alpha, sigma)
        error = (output - target).abs()
        if (gamma := self.settings.min_snr) is not None:
            error = error * denoiser.parameterisation.min_snr(alpha, sigma, gamma).sqrt()
        return self.weigh(error, batch.centre_mask)
