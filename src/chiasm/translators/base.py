"""The contract of a translator, and what all that run a network share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
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
from chiasm.translators.samples import RunningMoments, another_acquisition, sample_seed
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
    seed : int
        Of the noise.
    samples : int
        Translations of one scan, of which the mean is the result and the deviation is kept, see
        `NetworkTranslator`.
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
    seed: int = Field(default=0, ge=0)
    samples: int = Field(default=1, ge=1)
    batch: int = Field(default=8, ge=1)
    device: str = "auto"


@dataclass(frozen=True)
class Translation:
    """A translated volume, and the record of how it came about (JSON-able).

    With more than one sample, ``volume`` is their mean and ``deviation`` their standard deviation
    (of one sample, N − 1 in the denominator), on the same grid in the same units.
    """

    volume: Volume
    record: dict[str, Any] = field(default_factory=dict)
    deviation: Volume | None = None


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
    """A translator that changes intensities alone, on the source's own grid.

    It has one result, so more than one sample raises `UsageError`.
    """

    def __init__(self, model: Model, options: RunOptions | None = None) -> None:
        super().__init__(model, options)
        if self.options.samples > 1:
            problem = "asks for results that differ, and this method has one alone"
            legal = "1, or a method that runs a network"
            raise UsageError(explain("--samples", self.options.samples, problem, legal))

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
    """A translator that runs a network on the parts of a prepared volume.

    With ``options.samples`` N > 1, each part is translated N times; the mean is the result. The
    first is what one sample gives. A method that ``draws_noise`` draws the others from other
    seeds. Any other method gets the source as another scanner might have recorded it
    (`chiasm.translators.samples.another_acquisition`): test-time augmentation (Wang et al.,
    Neurocomputing 2019). Its deviation tells how much the result depends on the acquisition, and
    nothing of what every sample gets wrong alike.
    """

    draws_noise: ClassVar[bool] = False

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
        parts, places = prepared.samples(), prepared.places()
        heads = config.context.samples(prepared.head)
        mean = np.zeros((len(parts), 1, *parts.shape[2:]), dtype=np.float32)
        spread = np.zeros_like(mean)
        total = -(-len(places) // options.batch) * self.evaluations() * options.samples
        with torch.inference_mode(), progress(f"translate {volume.modality or ''}", total) as bar:
            for first in range(0, len(places), options.batch):
                some = places[first : first + options.batch]
                source, head = (torch.from_numpy(of[some]).to(device) for of in (parts, heads))
                moments = RunningMoments()
                for index in range(options.samples):
                    out = self._sample(index, source, head, some, lambda done, steps: bar(1))
                    moments.add(out.clamp(0, 1).cpu().numpy())
                mean[some], spread[some] = moments.mean, moments.deviation
        record = self._record(prepared, len(places), perf_counter() - start, str(device))
        result = prepared.restore(mean, self.target, config.target)
        if options.samples == 1:
            return Translation(result, record)
        width = IntensityMap(
            low=0, high=self.target.high - self.target.low, units=self.target.units
        )
        deviation = prepared.restore(spread, width, config.target)
        record["deviation_rms"] = float(np.sqrt(np.mean(deviation.array[prepared.mask] ** 2)))
        return Translation(result, record, deviation)

    def _sample(self, index: int, source: Any, head: Any, places: list[int], on_step: Any) -> Any:
        """Translation ``index`` of a batch, see the class; ``head`` is True inside, as source."""
        if index == 0:
            return self.run(source, places, on_step)
        seed = sample_seed(self.options.seed, index)
        if not self.draws_noise:
            return self.run(another_acquisition(source, head, seed, places), places, on_step)
        other = copy(self)
        other.options = self.options.model_copy(update={"seed": seed})
        return other.run(source, places, on_step)

    def _record(self, prepared: Prepared, n: int, seconds: float, device: str) -> dict[str, Any]:
        return {
            **prepared.record(),
            **self.settings(),
            "samples": self.options.samples,
            "parts": n,
            "seconds": round(seconds, 3),
            "seconds_per_part": round(seconds / max(n, 1), 4),
            "device": device,
        }
