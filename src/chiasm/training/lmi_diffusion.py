"""Denoising of the target under guides that are computed from the target itself."""

from __future__ import annotations

import torch
from torch import Tensor

from chiasm.training.data import Batch
from chiasm.training.objective import Objective


class DiffusionObjective(Objective):
    """Mean absolute error of what the parameterisation predicts, at random times.

    Times are drawn with density ∝ t^(late − 1): early training needs the noisy end, where the
    guide alone decides. ``min_snr`` weighs times as Hang et al. (ICCV 2023), the absolute error by
    the root of what they give its square; at pure noise that is 0, unless noise is predicted. In
    a share of the samples the guide is dropped, so that the same network also knows the target
    without one (guidance scales, SDEdit).
    """

    kind = "translator"
    method = "lmi-diffusion"
    defaults = {  # noqa: RUF012
        "network": {
            "name": "diffusion-unet",
            "arguments": {
                "channels": [32, 64, 128, 128],
                "num_res_blocks": 1,
                "attention_levels": [False, False, False, False],
                "num_head_channels": 32,
                "norm_num_groups": 16,
                "use_flash_attention": True,
            },
        },
        "guides": [{"name": "lmi"}],
        "diffusion": {"parameterisation": "x0"},
    }

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        denoiser, size = self.module, len(batch.image)
        device = batch.image.device
        share = torch.rand(size, generator=generator) ** (1 / self.settings.late)
        last = len(denoiser.signal) - 1
        time = (share * (last + 1)).long().clamp(max=last).to(device)
        x0 = denoiser.codec.encode(batch.centre)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        alpha, sigma = denoiser.amplitudes(time, denoiser.signal, x0.ndim)
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
        if error.shape[2:] != batch.centre_mask.shape[2:]:
            return error.mean()
        return self.weigh(error, batch.centre_mask)
