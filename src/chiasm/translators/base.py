"""The contract of a translator, and what all that run a network share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from chiasm.device import resolve_device
from chiasm.errors import CaseError, UsageError, explain
from chiasm.head import head_mask
from chiasm.intensity import IntensityMap
from chiasm.modality import modality_name
from chiasm.models import Model
from chiasm.preparation import PLANES, GridSettings, Plane, Prepared, prepare
from chiasm.progress import Advance, progress
from chiasm.translators.detail import DetailSettings, with_detail
from chiasm.translators.samples import RunningMoments, another_acquisition, sample_seed
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
    start : {"noise", "guide", "estimate"} or None
        Where a diffusion starts: pure noise, or the guide's estimate of the target, noised; or
        that estimate is the result.
    edit_from : float or None
        Share of the process that SDEdit and a start from the guide run, in (0, 1].
    steering : float or None
        Strength of steering, see `chiasm.diffusion.steering.SteeringSettings`.
    noise : {"slice", "shared"}
        Whether every slice of a volume has noise of its own, or all have the same.
    planes : {"axial", "coronal", "sagittal", "orthogonal"} or None
        Which slices of the volume the network is run on; orthogonal averages the three.
    detail : bool or None
        Whether the source's own detail is put back, see `chiasm.translators.detail`.
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
    start: Literal["noise", "guide", "estimate"] | None = None
    edit_from: float | None = Field(default=None, gt=0, le=1)
    noise: Literal["slice", "shared"] = "slice"
    planes: Plane | Literal["orthogonal"] | None = None
    steering: float | None = Field(default=None, ge=0)
    detail: bool | None = None
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

    def towards(self, to: str) -> Self:
        """The same translator of the same model, to another of the modalities that it makes.

        Raises
        ------
        UsageError
            A name that is no modality, or none that the model makes.
        """
        return type(self)(self.model.towards(modality_name(to, "--to")), self.options)

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

    def __init__(self, model: Model, options: RunOptions | None = None) -> None:
        super().__init__(model, options)
        self.grids = self._grids()
        own = model.config.detail
        wanted = own is not None if self.options.detail is None else self.options.detail
        self.detail = model.settings(DetailSettings, "detail") if wanted else None

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

    def told(self, modality: str | None) -> NetworkTranslator:
        """This translator, told the source's modality, None if that is not known."""
        return self

    def evaluations(self) -> int:
        """Steps that one batch takes in all, fitting included; for the progress bar."""
        return 1

    def memory(self, shape: tuple[int, ...]) -> int | None:
        """Bytes that a batch (B, images, \\*spatial) needs at its peak; None if not known."""
        return None

    def settings(self) -> dict[str, Any]:
        """What this run used beyond the options; for the record."""
        return {}

    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        import torch

        config, options = self.model.config, self.options
        if config.sources and volume.modality not in (None, *config.sources):
            problem = f"is no modality that {self.model.name} learned to translate"
            raise CaseError(explain("source", volume.modality, problem, ", ".join(config.sources)))
        device = resolve_device(options.device)
        module = self.model.module.to(device)
        mask = head_mask(volume) if mask is None else mask
        views = [
            prepare(volume, grid, config.context, divisible_by=module.divisible_by, mask=mask)
            for grid in self.grids.values()
        ]
        for one in views:
            self._check_memory(one, device)
        start = perf_counter()
        batches = sum(-(-len(one.places()) // options.batch) for one in views)
        total = batches * self.evaluations() * options.samples
        moments = RunningMoments()
        with torch.inference_mode(), progress(f"translate {volume.modality or ''}", total) as bar:
            for index in range(options.samples):
                results = [
                    one.restore(self._parts(index, one, device, bar), self.target, config.target)
                    for one in views
                ]
                mean = np.mean([one.array for one in results], axis=0)
                moments.add(self._detailed(mean, views[0]))
        record = self._record(views, perf_counter() - start, str(device))
        result = results[0].with_array(moments.mean.astype(np.float32))
        if options.samples == 1:
            return Translation(result, record)
        deviation = result.with_array(moments.deviation.astype(np.float32))
        record["deviation_rms"] = float(np.sqrt(np.mean(deviation.array[mask] ** 2)))
        return Translation(result, record, deviation)

    def _check_memory(self, view: Prepared, device: Any) -> None:
        """Refuse a volume that would not fit, before anything is run."""
        from chiasm.memory import available_bytes

        spatial = view.head.shape[: view.context.spatial_dims]
        count = min(self.options.batch, len(view.places()))
        needed = self.memory((count, view.context.images, *spatial))
        free = available_bytes(device)
        if needed is None or free is None or needed <= free:
            return
        size = "×".join(map(str, spatial))
        problem = f"needs about {needed / 1e9:.1f} GB on {device}, where {free / 1e9:.1f} are free"
        legal = (
            f"a smaller --batch, no --steering, or a coarser grid than that of {self.model.name}"
        )
        raise CaseError(explain("source", f"{size} voxels on the model's grid", problem, legal))

    def _parts(self, index: int, view: Prepared, device: Any, bar: Advance) -> np.ndarray:
        """Every part of a view in translation ``index``, see the class: (N, 1, \\*spatial)."""
        import torch

        source, places = torch.from_numpy(view.samples()), view.places()
        head = torch.from_numpy(view.context.samples(view.head))
        size, translator = self.options.batch, self.told(view.volume.modality)
        if index:
            seed = sample_seed(self.options.seed, index)
            if self.draws_noise:
                translator = copy(translator)
                translator.options = self.options.model_copy(update={"seed": seed})
            else:
                source = another_acquisition(source, head, seed)

        def translate_all(chosen: NetworkTranslator) -> Any:
            result = source.new_zeros((len(source), 1, *source.shape[2:]))
            for first in range(0, len(places), size):
                some = places[first : first + size]
                out = chosen.run(source[some].to(device), some, lambda done, steps: bar(1))
                result[some] = out.clamp(0, 1).cpu().float()
            return result

        return translate_all(translator.fitted(source, head, translate_all)).numpy()

    def _detailed(self, array: np.ndarray, view: Prepared) -> np.ndarray:
        """A translation in the target's units, on the source's grid, with the source's detail."""
        if self.detail is None:
            return array
        seen = np.clip(view.intensity.forward(view.volume.array), 0, 1)
        unit = with_detail(
            seen, self.target.forward(array), view.mask, view.volume.spacing, self.detail
        )
        return np.where(view.mask, self.target.inverse(np.clip(unit, 0, 1)), array)

    def _record(self, views: list[Prepared], seconds: float, device: str) -> dict[str, Any]:
        n = sum(len(one.places()) for one in views)
        by_plane = {
            plane: one.grid.model_dump(mode="json")
            for plane, one in zip(self.grids, views, strict=True)
        }
        return {
            **views[0].record(),
            **({"planes": by_plane} if self.options.planes else {}),
            **self.told(views[0].volume.modality).settings(),
            "detail": None if self.detail is None else self.detail.model_dump(),
            "samples": self.options.samples,
            "parts": n,
            "seconds": round(seconds, 3),
            "seconds_per_part": round(seconds / max(n, 1), 4),
            "device": device,
        }
