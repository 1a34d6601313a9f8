"""The contract of a translator, and what all that run a network share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from chiasm.device import resolve_device
from chiasm.errors import CaseError, UsageError, explain
from chiasm.head import head_mask
from chiasm.intensity import IntensityMap
from chiasm.models import Model
from chiasm.preparation import PLANES, GridSettings, Plane, Prepared, prepare
from chiasm.progress import Advance, progress
from chiasm.volume import Volume

# A translator of one volume's samples -> all of them translated, (N, 1, *spatial).
TranslateAll: TypeAlias = "Callable[[NetworkTranslator], Any]"


class RunOptions(BaseModel):
    """What a user may set for one run; None leaves it to the model's config.

    Parameters
    ----------
    steps : int or None
        Network evaluations of a diffusion; passes of a regression.
    scheduler : str or None
        A registered scheduler.
    guidance : float or None
        Weight of the guide, see `chiasm.diffusion.denoiser.Denoiser.bind`.
    start : {"noise", "guide"} or None
        Where a diffusion starts: pure noise, or the guide's estimate of the target, noised.
    edit_from : float or None
        Share of the process that SDEdit and a start from the guide run, in (0, 1].
    noise : {"slice", "shared"}
        Whether every slice of a volume has noise of its own, or all have the same.
    planes : {"axial", "coronal", "sagittal", "orthogonal"} or None
        Which slices of the volume the network is run on; orthogonal averages the three.
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
    start: Literal["noise", "guide"] | None = None
    edit_from: float | None = Field(default=None, gt=0, le=1)
    noise: Literal["slice", "shared"] = "slice"
    planes: Plane | Literal["orthogonal"] | None = None
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
            The volume cannot be prepared, see `chiasm.preparation.prepare`; or it is of a modality
            that a model which learned from sources does not know.
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

    def __init__(self, model: Model, options: RunOptions | None = None) -> None:
        super().__init__(model, options)
        self.grids = self._grids()

    def _grids(self) -> dict[str, GridSettings]:
        """The lattices that the network is run on, by plane; the results are averaged."""
        own, planes = self.model.config.grid, self.options.planes
        if planes is None:
            return {"own": own}
        if self.model.config.context.kind == "3d":
            problem = f"means nothing to {self.model.name}, which sees whole volumes"
            raise UsageError(explain("--planes", planes, problem, "a model of slices"))
        every = PLANES if planes == "orthogonal" else (planes,)
        return {plane: own.across(plane) for plane in every}

    def fitted(self, source: Any, head: Any, translate: TranslateAll) -> NetworkTranslator:
        """This translator, fitted to one volume before its samples are translated for good.

        Parameters
        ----------
        source, head : Tensor, shape (N, images, \\*spatial)
            All samples of the volume, in [0, 1], and where its head is; on the CPU.
        translate : callable
            Translates them all with a translator: (N, 1, \\*spatial).
        """
        return self

    def evaluations(self) -> int:
        """Steps that one batch takes in all, fitting included; for the progress bar."""
        return 1

    def settings(self) -> dict[str, Any]:
        """What this run used beyond the options; for the record."""
        return {}

    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        import torch

        config = self.model.config
        if config.sources and volume.modality not in (None, *config.sources):
            problem = f"is no modality that {self.model.name} learned to translate"
            raise CaseError(explain("source", volume.modality, problem, ", ".join(config.sources)))
        device = resolve_device(self.options.device)
        module = self.model.module.to(device)
        mask = head_mask(volume) if mask is None else mask
        passes = [
            prepare(volume, grid, config.context, divisible_by=module.divisible_by, mask=mask)
            for grid in self.grids.values()
        ]
        start = perf_counter()
        batches = sum(-(-len(one.places()) // self.options.batch) for one in passes)
        total = batches * self.evaluations()
        with torch.inference_mode(), progress(f"translate {volume.modality or ''}", total) as bar:
            results = [
                one.restore(self._samples(one, device, bar), self.target, config.target)
                for one in passes
            ]
        mean = np.mean([one.array for one in results], axis=0)
        record = self._record(passes, perf_counter() - start, str(device))
        return Translation(results[0].with_array(mean), record)

    def _samples(self, prepared: Prepared, device: Any, bar: Advance) -> np.ndarray:
        """The translation of every sample of a prepared volume: (N, 1, \\*spatial) in [0, 1]."""
        import torch

        samples, places = torch.from_numpy(prepared.samples()), prepared.places()
        size = self.options.batch
        batches = [places[first : first + size] for first in range(0, len(places), size)]

        def translate_all(translator: NetworkTranslator) -> Any:
            result = samples.new_zeros((len(samples), 1, *samples.shape[2:]))
            for some in batches:
                out = translator.run(samples[some].to(device), some, lambda done, of: bar(1))
                result[some] = out.clamp(0, 1).cpu().float()
            return result

        heads = torch.from_numpy(prepared.context.samples(prepared.head))
        return translate_all(self.fitted(samples, heads, translate_all)).numpy()

    def _record(self, passes: list[Prepared], seconds: float, device: str) -> dict[str, Any]:
        n = sum(len(one.places()) for one in passes)
        by_plane = {
            plane: one.grid.model_dump(mode="json")
            for plane, one in zip(self.grids, passes, strict=True)
        }
        return {
            **passes[0].record(),
            **({"planes": by_plane} if self.options.planes else {}),
            **self.settings(),
            "samples": n,
            "seconds": round(seconds, 3),
            "seconds_per_sample": round(seconds / max(n, 1), 4),
            "device": device,
        }
