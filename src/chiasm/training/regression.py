"""One-step regression: the target from the guides of itself, by mean absolute error."""

from __future__ import annotations

import torch
from torch import Tensor

from chiasm.guides.calibration import curve_of, disturb
from chiasm.training.data import Batch
from chiasm.training.objective import Objective


class RegressionObjective(Objective):
    """L1 between the network's one step and the target image."""

    kind = "translator"
    method = "regression"
    defaults = {  # noqa: RUF012
        "network": {
            "name": "unet",
            "arguments": {
                "features": [32, 32, 64, 128, 256, 32],
                # Instance norms would wash out how bright a slice's tissues are.
                "norm": "batch",
                # Deconvolution leaves a checkerboard on contrasts unlike those of training.
                "upsample": "nontrainable",
            },
        },
        "guides": [{"name": "source", "randomise": True}],
        "calibration": {},
        "detail": {},
    }

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        seen, curve = None, None
        if self.module.guides.randomised:
            seen, population = self.randomised(batch, generator)
            if chosen := self.module.calibration:
                true = curve_of(population, batch.population, chosen.nodes)
                curve = disturb(true, chosen, generator)
        predicted = self.module(batch.image, seen, curve)
        return self.weigh((predicted.float() - batch.centre).abs(), batch.centre_mask)
