"""The Lightning module of an objective, its optimiser and its validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from chiasm.training.batch import Batch
from chiasm.training.several_devices import Process


class TrainingModule(LightningModule):
    """Trains an objective. Random numbers depend only on (seed, step), also in a resumed run.

    Each of several processes has a seed of its own.
    """

    def __init__(self, objective: Any, process: Process | None = None) -> None:
        super().__init__()
        self.process = process or Process()
        self.objective = objective
        self.module = objective.module

    def training_step(self, batch: Batch, index: int) -> Tensor:
        return self._logged(self.objective.loss(batch, self._draws()))

    def _logged(self, loss: Tensor) -> Tensor:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at iteration {self.global_step}")
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        # All processes validate on the same images.
        loss = self.objective.validation_loss(batch, _generator(self._seed, 2, index))
        self.log("validation_loss", loss)

    @property
    def _seed(self) -> int:
        return int(self.objective.settings.seed)

    def _draws(self) -> torch.Generator:
        """The random numbers of this process in this iteration."""
        return _generator(self.process.seed(self._seed), 1, self.global_step)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        return batch.to(device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of the optimiser, with settings that differ from the run's."""
        trained = [weight for weight in self.module.parameters() if weight.requires_grad]
        return [{"params": trained}]

    def configure_optimizers(self) -> Any:
        chosen = self.objective.settings
        optimiser = torch.optim.AdamW(
            self.parameter_groups(), lr=chosen.learning_rate, weight_decay=chosen.weight_decay
        )
        warmup = min(chosen.warmup, chosen.iterations // 10 + 1)
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimiser,
            [
                torch.optim.lr_scheduler.LinearLR(optimiser, 0.01, total_iters=warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(
                    optimiser, max(1, chosen.iterations - warmup), chosen.learning_rate * 0.01
                ),
            ],
            [warmup],
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _generator(*key: int) -> torch.Generator:
    # torch's CPU generator uses only 32 bits of a seed, so the numbers are mixed first.
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
