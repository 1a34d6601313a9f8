"""The contract of a translator, and what all that run a network share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from chiasm.device import resolve_device
from chiasm.errors import UsageError, explain
from chiasm.head import head_mask
from chiasm.intensity import IntensityMap
from chiasm.models import Model
from chiasm.preparation import Prepared, prepare
from chiasm.progress import progress
from chiasm.volume import Volume


class RunOptions(BaseModel):
    """What a user may set for one run; None leaves it to the model's config.

    Parameters
    ----------
    steps : int or None
        Network evaluations of a diffusion.
    scheduler : str or None
        A registered scheduler.
    guidance : float or None
        Weight of the guide, see `chiasm.diffusion.denoiser.Denoiser.bind`.
    edit_from : float or None
        Share of the process that SDEdit runs, in (0, 1].
    steering : float or None
        Strength of steering, see `chiasm.diffusion.steering.SteeringSettings`.
    seed : int
        Of the noise.
    batch : int
        Samples in one network evaluation; does not change the result beyond rounding.
    device : str
        auto, cpu, cuda, cuda:N or mps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int | None = Field(default=None, ge=1)
    scheduler: str | None = None
    guidance: float | None = Field(default=None, ge=0)
    edit_from: float | None = Field(default=None, gt=0, le=1)
    steering: float | None = Field(default=None, ge=0)
    seed: int = Field(default=0, ge=0)
    batch: int = Field(default=8, ge=1)
    device: str = "auto"


@dataclass(frozen=True)
class Translation:
    """A translated volume, and the record of how it came about (JSON-able)."""

    volume: Volume
    record: dict[str, Any] = field(default_factory=dict)


class Translator(ABC):
    """Volume → Volume on the same grid, in the units of the model's target.

    ``runs`` names the methods whose models it can use; empty means any model's config, without
    its weights.
    """

    runs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Model, options: RunOptions | None = None) -> None:
        self.model = model
        self.options = options or RunOptions()
        if self.runs and model.config.method not in self.runs:
            problem = f"was trained for {model.config.method}, which this method cannot run"
            legal = f"a model trained for {' or '.join(self.runs)}"
            raise UsageError(explain("--model", model.name, problem, legal))

    @property
    def target(self) -> IntensityMap:
        """What 0 and 1 mean in the target's units."""
        assert self.model.config.intensity is not None  # the config of a translator has one
        return self.model.config.intensity

    @abstractmethod
    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        """Translate one volume.

        Parameters
        ----------
        volume : Volume
            The source.
        mask : bool array, shape of the volume, optional
            The head; found if not given.

        Raises
        ------
        CaseError
            The volume cannot be prepared, see `chiasm.preparation.prepare`.
        """


class IntensityTranslator(Translator):
    """A translator that changes intensities alone, on the source's own grid."""

    @abstractmethod
    def change(self, unit: np.ndarray) -> np.ndarray:
        """Source intensities of the head, (n,) in [0, 1] → target intensities in [0, 1]."""

    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        from chiasm.intensity import policy_for

        start = perf_counter()
        mask = head_mask(volume) if mask is None else np.asarray(mask, dtype=bool)
        own = policy_for(volume.modality).fit(volume, mask)
        array = np.full(volume.shape, self.target.background, dtype=np.float32)
        unit = np.clip(own.forward(volume.array[mask]), 0, 1)
        array[mask] = self.target.inverse(self.change(unit))
        config = self.model.config
        result = volume.with_array(array, modality=config.target, units=self.target.units)
        record = {"intensity": own.model_dump(mode="json"), "seconds": perf_counter() - start}
        return Translation(result, record)


class NetworkTranslator(Translator):
    """A translator that runs a network on the samples of a prepared volume."""

    @abstractmethod
    def run(self, source: Any, places: list[int], on_step: Any) -> Any:
        """Translate one batch.

        Parameters
        ----------
        source : Tensor, shape (B, images, \\*spatial)
            In [0, 1], on the run's device.
        places : list of int
            Each sample's index in the volume, which its noise is drawn from.
        on_step : callable
            Of (steps done, steps in all).

        Returns
        -------
        Tensor, shape (B, 1, \\*spatial)
            In [0, 1] but for rounding.
        """

    def evaluations(self) -> int:
        """Steps that one batch takes; for the progress bar."""
        return 1

    def settings(self) -> dict[str, Any]:
        """What this run used beyond the options; for the record."""
        return {}

    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        import torch

        config, options = self.model.config, self.options
        device = resolve_device(options.device)
        module = self.model.module.to(device)
        prepared = prepare(
            volume, config.grid, config.context, divisible_by=module.divisible_by, mask=mask
        )
        start = perf_counter()
        samples, places = prepared.samples(), prepared.places()
        result = np.zeros((len(samples), 1, *samples.shape[2:]), dtype=np.float32)
        total = -(-len(places) // options.batch) * self.evaluations()
        with torch.inference_mode(), progress(f"translate {volume.modality or ''}", total) as bar:
            for first in range(0, len(places), options.batch):
                some = places[first : first + options.batch]
                source = torch.from_numpy(samples[some]).to(device)
                out = self.run(source, some, lambda done, steps: bar(1))
                result[some] = out.clamp(0, 1).cpu().numpy()
        record = self._record(prepared, len(places), perf_counter() - start, str(device))
        return Translation(prepared.restore(result, self.target, config.target), record)

    def _record(self, prepared: Prepared, n: int, seconds: float, device: str) -> dict[str, Any]:
        return {
            **prepared.record(),
            **self.settings(),
            "samples": n,
            "seconds": round(seconds, 3),
            "seconds_per_sample": round(seconds / max(n, 1), 4),
            "device": device,
        }
