"""The interface of a translator, and the base classes of the translators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from chiasm.errors import CaseError, UsageError, explain
from chiasm.image.intensity import IntensityMap, policy_for
from chiasm.image.mask import checked_foreground
from chiasm.image.modality import modality_name
from chiasm.image.orientation import Turn
from chiasm.image.planes import OWN, grids_of, shown_by
from chiasm.image.preparation import GridSettings, Prepared, prepare
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources, resolve_device
from chiasm.machine.progress import Advance, progress
from chiasm.methods.detail_transfer import DetailTransferSettings, with_detail
from chiasm.methods.method import Method
from chiasm.methods.options import NetworkOptions, Options
from chiasm.methods.repeats import RunningMoments, another_acquisition, sample_seed
from chiasm.models import Model

# Translates the network inputs that a translator is fitted to: (N, 1 or 2, *spatial).
TranslateAll: TypeAlias = "Callable[[NetworkTranslator], Any]"


@dataclass(frozen=True)
class Translation:
    """A translated volume and a record of how it was made, which can be written as JSON.

    If the scan was translated several times, ``volume`` is the mean of these repeats and
    ``deviation`` is their standard deviation (N − 1 in the denominator). ``expected_error`` is the
    absolute error that the model expects, if it learned to. All are on the same grid and in the
    same units.
    """

    volume: Volume
    record: dict[str, Any] = field(default_factory=dict)
    deviation: Volume | None = None
    expected_error: Volume | None = None

    def each(self, change: Callable[[Volume], Volume]) -> Translation:
        """The translation after a change of all its volumes."""
        names = ("volume", "deviation", "expected_error")
        held = {name: getattr(self, name) for name in names}
        changed: dict[str, Any] = {
            name: change(one) for name, one in held.items() if one is not None
        }
        return replace(self, **changed)


class Translator(ABC):
    """Translates a volume to the model's target, on the same grid and in the target's units.

    Parameters
    ----------
    model : Model
        A model that this method can run.
    options : Options
        The options of this method, see `chiasm.methods.method.Method.check`.
    resources : Resources
        Batch size and device.
    """

    # The declaration of the method; `chiasm.methods.load` sets it.
    method: Method
    # Whether the model's weights are needed.
    reads_weights: ClassVar[bool] = True

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        self.model = model
        self.options = options
        self.resources = resources or Resources()

    def towards(self, to: str) -> Self:
        """The same translator for another target of its model.

        Raises
        ------
        UsageError
            The name is not a modality, or the model cannot make that modality.
        """
        target = self.model.towards(modality_name(to, "--to"))
        turned = type(self)(target, self.options, self.resources)
        turned.method = self.method
        return turned

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that the result depends on; the first is the translator's own."""
        return (self.model,)

    @property
    def fingerprint(self) -> str:
        """A hash of the weights and configs that the result depends on."""
        return "+".join(model.fingerprint for model in self.models)

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that are written beside the translation, in the order of `Result.images`.

        "std" is the standard deviation and "err" the expected absolute error.
        """
        return ()

    @property
    def target(self) -> IntensityMap:
        """The intensity map between [0, 1] and the target's units."""
        assert self.model.config.intensity is not None  # the config of a translator has one
        return self.model.config.intensity

    def translate(self, volume: Volume, mask: np.ndarray | None = None) -> Translation:
        """Translate one volume.

        The result does not depend on the order in which the voxels are stored: the work is done
        in canonical order (`chiasm.image.orientation`).

        Parameters
        ----------
        volume : Volume
            The source.
        mask : bool array, shape of the volume, optional
            The foreground mask, which is the brain for models of skull-stripped brains. Without
            it, the foreground is computed from the scan.

        Returns
        -------
        Translation
            On the source's grid.

        Raises
        ------
        CaseError
            The volume cannot be prepared (`chiasm.image.preparation.prepare`), or the model was
            not trained for its modality.
        """
        turn = Turn.of(volume)
        inside = checked_foreground(mask, volume)
        made = self.translate_canonical(turn.image(volume), turn.array(inside))
        record = {"orientation": volume.orientation, **made.record}
        turned = made.each(lambda one: turn.image_back(one, volume))
        return replace(turned, record=record)

    @abstractmethod
    def translate_canonical(self, volume: Volume, mask: np.ndarray) -> Translation:
        """Translate a volume in canonical order; its foreground is in the same order."""


class IntensityTranslator(Translator):
    """A translator that maps intensities on the source's own grid and uses no network."""

    reads_weights = False

    @abstractmethod
    def change(self, unit: np.ndarray) -> np.ndarray:
        """Map source intensities of the foreground, (n,) in [0, 1], to target intensities."""

    def translate_canonical(self, volume: Volume, mask: np.ndarray) -> Translation:
        start = perf_counter()
        own = policy_for(volume.modality).fit(volume, mask)
        array = np.full(volume.shape, self.target.background, dtype=np.float32)
        unit = np.clip(own.forward(volume.array[mask]), 0, 1)
        array[mask] = self.target.inverse(self.change(unit))
        config = self.model.config
        result = volume.with_array(array, modality=config.target, units=self.target.units)
        record = {"intensity": own.model_dump(mode="json"), "seconds": perf_counter() - start}
        return Translation(result, record)


class NetworkTranslator(Translator):
    """A translator that runs a network on the network inputs of a scan.

    A network input is a slice, a slice with its neighbours, or the complete volume
    (`chiasm.image.context`).

    If ``options.samples`` is above 1, the scan is translated that many times, and the result is the
    mean of these repeats. The first repeat equals a run with ``samples`` = 1. For the other
    repeats, a method that ``draws_noise`` uses other seeds. Any other method translates simulated
    acquisitions of the same scan (`chiasm.methods.repeats.another_acquisition`). This is test-time
    augmentation (Wang et al., Neurocomputing 2019), so the deviation shows how much the result
    depends on the acquisition. It does not show errors that all repeats share.
    """

    draws_noise: bool = False
    # Whether the planes and the detail transfer that the model records are used by default. A
    # method that runs the model of another uses the grid's own plane, and no detail transfer.
    uses_defaults_of_model: bool = True
    options: NetworkOptions

    def __init__(self, model: Model, options: Any, resources: Resources | None = None) -> None:
        super().__init__(model, options, resources)
        self.seed = self.options.seed or 0
        self.grids = self._grids()
        wanted = self.options.detail
        if wanted is None:
            own = model.config.settings.get("detail_transfer")
            wanted = own is not None and self.uses_defaults_of_model
        self.detail = model.settings(DetailTransferSettings, "detail_transfer") if wanted else None

    @abstractmethod
    def run(self, source: Any, slice_indices: list[int], on_step: Any) -> Any:
        """Translate one batch.

        Parameters
        ----------
        source : Tensor, shape (B, images, \\*spatial)
            In [0, 1], on the run's device.
        slice_indices : list of int
            The index of each network input in the volume. It seeds the noise of that input.
        on_step : callable
            It is called with (steps done, total steps).

        Returns
        -------
        Tensor, shape (B, 1 or 2, \\*spatial)
            In [0, 1] within rounding error. A second channel holds the expected absolute error.
        """

    def _grids(self) -> dict[str, GridSettings]:
        """The grid of the network for each plane. The results of all planes are averaged."""
        own = self.model.config.grid
        planes = self.options.planes
        if planes is None and self.uses_defaults_of_model:
            planes = self.model.config.settings.get("inference_planes")
        if planes is not None and self.model.config.context.kind == "3d":
            problem = f"does not apply to the model {self.model.name}, which sees whole volumes"
            raise UsageError(explain("--planes", planes, problem, "a model of slices"))
        return grids_of(own, planes)

    def _grids_of(self, volume: Volume) -> dict[str, GridSettings]:
        """The grids for a volume in canonical order.

        Of several planes that are the model's default, those stay whose slices show enough of the
        head. Planes that the run asks for stay in any case.
        """
        if self.options.planes or len(self.grids) == 1:
            return self.grids
        return shown_by(volume, self.grids, self.model.config.grid)

    @property
    def fits(self) -> int:
        """How often `fitted` translates its network inputs; with 0 it is not called."""
        return 0

    def fitted_to(self, inputs: list[int]) -> list[int]:
        """The network inputs that `fitted` receives, out of those of a volume with foreground."""
        return inputs

    def fitted(self, source: Any, foreground: Any, translate: TranslateAll) -> NetworkTranslator:
        """This translator, adapted to one volume before the volume is translated.

        Parameters
        ----------
        source, foreground : Tensor, shape (N, images, \\*spatial)
            The network inputs that `fitted_to` chooses, in [0, 1], and their foreground masks, on
            the CPU.
        translate : callable
            It translates these network inputs with a translator and returns
            (N, 1 or 2, \\*spatial), as `run` does.
        """
        return self

    @property
    def gives_expected_error(self) -> bool:
        """Whether `run` returns the expected error."""
        return False

    @property
    def maps(self) -> tuple[str, ...]:
        several = ("std",) * (self.options.samples > 1)
        return several + ("err",) * self.gives_expected_error

    def told(self, modality: str | None) -> NetworkTranslator:
        """This translator, adapted to the modality of the source.

        Parameters
        ----------
        modality : str or None
            None if the modality is unknown.
        """
        return self

    def evaluations(self) -> int:
        """Number of steps by which one batch advances the progress bar."""
        return 1

    def memory(self, shape: tuple[int, ...]) -> int | None:
        """Peak memory in bytes of a batch (B, images, \\*spatial); None if it is unknown."""
        return None

    def settings(self) -> dict[str, Any]:
        """The settings of this run for the record; the model's defaults are filled in."""
        return {}

    def translate_canonical(self, volume: Volume, mask: np.ndarray) -> Translation:
        import torch

        config, samples = self.model.config, self.options.samples
        if config.sources and volume.modality not in (None, *config.sources):
            problem = f"is not a modality that the model {self.model.name} was trained to translate"
            raise CaseError(explain("source", volume.modality, problem, ", ".join(config.sources)))
        device = resolve_device(self.resources.device)
        module = self.model.module.to(device)
        grids = self._grids_of(volume)
        views = [
            prepare(volume, grid, config.context, divisible_by=module.divisible_by, mask=mask)
            for grid in grids.values()
        ]
        for one in views:
            self._check_memory(one, device)
        start = perf_counter()
        inputs = [one.slice_indices() for one in views]
        inputs += [self.fitted_to(inputs[0])] * self.fits
        batches = sum(-(-len(one) // self.resources.batch) for one in inputs)
        total = batches * self.evaluations() * samples
        moments, errors = RunningMoments(), RunningMoments()
        with torch.inference_mode(), progress(f"translate {volume.modality or ''}", total) as bar:
            for index in range(samples):
                adapted = self._adapted(index, views[0], device, bar)
                made = [(one, adapted._translated(index, one, device, bar)) for one in views]
                results = [one.restore(two[:, :1], self.target, config.target) for one, two in made]
                mean = _mean([one.array for one in results])
                moments.add(self._detailed(mean, views[0]))
                if self.gives_expected_error:
                    width = self.target.difference()
                    each = [one.restore(two[:, 1:], width, config.target) for one, two in made]
                    errors.add(_mean([one.array for one in each]))
        used = dict(zip(grids, views, strict=True))
        record = self._record(used, perf_counter() - start, str(device))
        result = results[0].with_array(moments.mean.astype(np.float32))
        deviation = expected = None
        if samples > 1:
            deviation = result.with_array(moments.deviation.astype(np.float32))
            record["deviation_rms"] = float(np.sqrt(np.mean(deviation.array[mask] ** 2)))
        if self.gives_expected_error:
            expected = result.with_array(errors.mean.astype(np.float32))
            record["expected_error_mean"] = float(expected.array[mask].mean())
        return Translation(result, record, deviation, expected)

    def _check_memory(self, view: Prepared, device: Any) -> None:
        """Raise `CaseError` if a batch would not fit the memory, before the network is run."""
        from chiasm.machine.memory import available_bytes

        spatial = view.foreground.shape[: view.context.spatial_dims]
        count = min(self.resources.batch, len(view.slice_indices()))
        needed = self.memory((count, view.context.images, *spatial))
        free = available_bytes(device)
        if needed is None or free is None or needed <= free:
            return
        size = "×".join(map(str, spatial))
        problem = f"needs about {needed / 1e9:.1f} GB on {device}, where {free / 1e9:.1f} are free"
        legal = f"a smaller --batch, or a coarser grid than that of the model {self.model.name}"
        raise CaseError(explain("source", f"{size} voxels on the model's grid", problem, legal))

    def _adapted(self, index: int, view: Prepared, device: Any, bar: Advance) -> NetworkTranslator:
        """This translator for repeat number ``index``, adapted to the volume by one view of it."""
        translator = copy(self.told(view.volume.modality))
        if index:
            translator.seed = sample_seed(self.seed, index)
        if not translator.fits:
            return translator
        source, foreground = translator._inputs(index, view)
        some = self.fitted_to(view.slice_indices())
        seen = source[some]

        def translate(chosen: NetworkTranslator) -> Any:
            return chosen._run_in_batches(seen, some, device, bar)

        return translator.fitted(seen, foreground[some], translate)

    def _inputs(self, index: int, view: Prepared) -> tuple[Any, Any]:
        """All network inputs of one view for repeat number ``index``, and their foreground."""
        import torch

        source = torch.from_numpy(view.samples())
        foreground = torch.from_numpy(view.context.samples(view.foreground))
        if index and not self.draws_noise:
            source = another_acquisition(source, foreground, self.seed)
        return source, foreground

    def _translated(self, index: int, view: Prepared, device: Any, bar: Advance) -> np.ndarray:
        """The translation of all network inputs of one view: as `run` returns."""
        source, some = self._inputs(index, view)[0], view.slice_indices()
        made = self._run_in_batches(source[some], some, device, bar)
        result = made.new_zeros((len(source), *made.shape[1:]))
        result[some] = made
        array: np.ndarray = result.numpy()
        return array

    def _run_in_batches(self, source: Any, indices: list[int], device: Any, bar: Advance) -> Any:
        import torch

        size, made = self.resources.batch, []
        for first in range(0, len(indices), size):
            batch = slice(first, first + size)
            out = self.run(source[batch].to(device), indices[batch], lambda done, steps: bar(1))
            made.append(out.clamp(0, 1).cpu().float())
        return torch.cat(made)

    def _detailed(self, array: np.ndarray, view: Prepared) -> np.ndarray:
        """Apply detail transfer to a translation on the source's grid, in the target's units."""
        if self.detail is None:
            return array
        seen = np.clip(view.intensity.forward(view.volume.array), 0, 1)
        unit = with_detail(
            seen, self.target.forward(array), view.mask, view.volume.spacing, self.detail
        )
        return np.where(view.mask, self.target.inverse(np.clip(unit, 0, 1)), array)

    def _record(self, views: dict[str, Prepared], seconds: float, device: str) -> dict[str, Any]:
        first = next(iter(views.values()))
        n = sum(len(one.slice_indices()) for one in views.values())
        by_plane = {plane: one.grid.model_dump(mode="json") for plane, one in views.items()}
        return {
            **first.record(),
            **({} if OWN in by_plane else {"planes": by_plane}),
            **self.told(first.volume.modality).settings(),
            "detail_transfer": None if self.detail is None else self.detail.model_dump(),
            "samples": self.options.samples,
            "network_inputs": n,
            "seconds": round(seconds, 3),
            "seconds_per_input": round(seconds / max(n, 1), 4),
            "device": device,
        }


def _mean(arrays: list[np.ndarray]) -> np.ndarray:
    """The mean of arrays of one shape; `numpy.mean` would first copy them into one array."""
    total = arrays[0]
    for one in arrays[1:]:
        total = total + one
    return total / np.float32(len(arrays))


__all__ = [
    "IntensityTranslator",
    "NetworkTranslator",
    "Options",
    "Resources",
    "Translation",
    "Translator",
]
