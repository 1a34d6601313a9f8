"""The file of a network that others trained, and the YAML file that describes it."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from chiasm.errors import CaseError, UsageError, explain
from chiasm.image.context import Context, Plane
from chiasm.image.foreground import background_value
from chiasm.image.grid import Grid
from chiasm.image.mask import checked_foreground
from chiasm.image.orientation import Turn
from chiasm.image.preparation import GridSettings, Orientation, foreground_box
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.device import resolve_device
from chiasm.machine.progress import progress
from chiasm.segmenters.base import Segmentation
from chiasm.segmenters.description import ENDINGS, Description, content_of, described
from chiasm.segmenters.of_others import SegmenterOfOthers
from chiasm.segmenters.worker import Worker, WorkerError

_Size = PositiveFloat | None
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")


class NetworkDescription(Description):
    """What the file of a network does not tell.

    Parameters
    ----------
    network : str
        The file, relative to the YAML file. It can be left out if the two differ in their ending
        alone.
    spacing : float, three floats or None
        The voxels that the network was trained on, in mm, in the order of ``orientation``. None
        keeps those of the scan, also for one of the three.
    orientation : str
        The directions in which the axes of its input run, such as ``"LIA"``.
    plane : {"axial", "coronal", "sagittal"} or None
        The plane of its slices; None for a network of volumes.
    size : int, several ints or None
        The exact size of its input in voxels, in the order of ``orientation``; in a network of
        slices, of a slice. None for any size.
    divisible_by : int
        The sizes must be multiples of this number. It is refused beside ``size``.
    channels_last : bool
        Whether the channels are the last axis of the input and of the output.
    range : two of (float or str), or "z-score"
        The intensities that become 0 and 1: numbers, or percentiles such as ``"p2"``. With
        "z-score" the mean becomes 0, and the standard deviation 1.
    within : {"field", "foreground"}
        The voxels that percentiles, mean and deviation are taken from: all that the network sees
        with the air around the head, or the foreground.
    clip : bool
        Whether intensities are limited to 0 and 1. With "z-score" they never are.
    coordinates : bool
        Whether the network has a second input: the place of each voxel along the three axes,
        from the centre of its field, as a share of the size of the field.
    labels : dict
        Class of the network, counted from 0 → name. All classes have to be named.
    """

    network: str = ""
    spacing: PositiveFloat | tuple[_Size, _Size, _Size] | None = None
    orientation: Orientation = "RAS"
    plane: Plane | None = None
    size: PositiveInt | tuple[PositiveInt, ...] | None = None
    divisible_by: PositiveInt = 1
    channels_last: bool = False
    range: tuple[float | str, float | str] | Literal["z-score"] = ("p0.5", "p99.5")
    within: Literal["field", "foreground"] = "foreground"
    clip: bool = True
    coordinates: bool = False
    labels: dict[int, str] = Field(min_length=2)

    @field_validator("range")
    @classmethod
    def _ends_are_legal(cls, given: Any) -> Any:
        if given == "z-score":
            return given
        for one in given:
            if isinstance(one, str):
                found = _PERCENTILE.fullmatch(one)
                if found is None or float(found[1]) > 100:
                    raise ValueError("a range is two numbers or percentiles such as p2, or z-score")
        return given

    @model_validator(mode="after")
    def _sizes_match(self) -> NetworkDescription:
        dims = 3 if self.plane is None else 2
        if isinstance(self.size, tuple) and len(self.size) != dims:
            raise ValueError(f"size is one number, or {dims} numbers")
        if self.size is not None and self.divisible_by != 1:
            raise ValueError("divisible_by changes nothing where size is given")
        if sorted(self.labels) != list(range(len(self.labels))):
            raise ValueError("labels name all classes of the network, counted from 0")
        return self

    @property
    def context(self) -> Context:
        """A slice or a volume at a time."""
        return Context(kind="3d" if self.plane is None else "2d")

    @property
    def slice_axis(self) -> int | None:
        """The axis of the orientation along which slices are stacked; None for volumes."""
        if self.plane is None:
            return None
        own = GridSettings(spacing=(None, None, None), orientation=self.orientation)
        return own.across(self.plane).slice_axis

    def grid(self, volume: Volume, mask: np.ndarray) -> Grid:
        """The grid on which the network sees a volume.

        Raises
        ------
        CaseError
            The foreground does not fit the exact size of the network's input.
        """
        size = (
            self.size if isinstance(self.size, tuple) else (self.size,) * self.context.spatial_dims
        )
        spacing: tuple[float | None, ...]
        spacing = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,) * 3
        axis = self.slice_axis
        if axis is not None:  # in plane, in plane, through plane
            spacing = (*(one for k, one in enumerate(spacing) if k != axis), spacing[axis])
        wanted = (*size, None)[:3]
        plan = partial(
            Grid.plan,
            volume.shape,
            volume.affine,
            spacing=spacing,
            orientation=self.orientation,
            slice_axis=axis,
            crop=foreground_box(mask),
        )
        if self.size is None:
            return plan(divisible_by=self.divisible_by)
        have = plan().network_shape
        if any(exact is not None and exact < n for exact, n in zip(wanted, have, strict=True)):
            problem = f"has a foreground of {_times(have)} voxels on the network's grid"
            most = _times(one or "any" for one in wanted)
            legal = f"at most {most} voxels (a mask of the brain is smaller)"
            raise CaseError(explain("image", repr(volume), problem, legal))
        return plan(size=wanted)

    def scaled(self, image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
        """Intensities in the range of the network: float32, (X, Y, Z)."""
        seen = image if self.within == "field" else image[foreground]
        if self.range == "z-score":
            low, width = float(seen.mean()), float(seen.std())
        else:
            low, high = (_end(one, seen) for one in self.range)
            width = high - low
        if not width > 0:
            problem = f"has no contrast in the range {self.range}"
            raise CaseError(explain("image", "", problem, "a scan with contrast"))
        scaled = (image - low) / width
        if self.clip and self.range != "z-score":
            scaled = np.clip(scaled, 0, 1)
        return scaled.astype(np.float32)


def _end(end: float | str, seen: np.ndarray) -> float:
    return float(np.percentile(seen, float(end[1:]))) if isinstance(end, str) else end


def _times(numbers: Any) -> str:
    return "×".join(map(str, numbers))


class FileSegmenter(SegmenterOfOthers):
    """A network in a file, which is run in a process of its own.

    It is named by the file of the network, beside which a YAML file of the same name lies, or by a
    YAML file that names it. The YAML file holds the settings of `NetworkDescription`.
    """

    kind: ClassVar[str]  # of the engine, see `chiasm.segmenters.worker`
    suffixes: ClassVar[tuple[str, ...]]

    description: NetworkDescription
    _worker: Worker | None = None

    def _described(self, given: str | Path) -> NetworkDescription:
        path = Path(given)
        if path.suffix.lower() in ENDINGS:
            settings = path
        else:
            settings = next(
                (one for end in ENDINGS if (one := path.with_suffix(end)).is_file()),
                path.with_suffix(ENDINGS[0]),
            )
        content = content_of(settings, self.argument)
        if content is None:
            legal = "a YAML file that describes the network (modality, spacing, labels)"
            raise UsageError(explain(self.argument, settings, "is not there", legal))
        told = described(NetworkDescription, content, settings, self.argument)
        self.path = settings.parent / told.network if told.network else path
        if not self.path.is_file() or self.path.suffix.lower() not in self.suffixes:
            problem = "is not the file of a network"
            legal = f"an existing file that ends with {', '.join(self.suffixes)}"
            raise UsageError(explain(self.argument, self.path, problem, legal))
        return told

    def _own_name(self) -> str:
        return self.path.stem

    @classmethod
    def recognises(cls, given: str) -> bool:
        """Whether this is such a file, or a YAML file that names one."""
        if given.lower().endswith(cls.suffixes):
            return True
        named = str((content_of(given) or {}).get("network", ""))
        return named.lower().endswith(cls.suffixes)

    @property
    def worker(self) -> Worker:
        """The process that holds the network; it is started when it is first needed."""
        if self._worker is None or not self._worker.alive:
            device = str(resolve_device(self.resources.device))
            self._worker = Worker(self.kind, self.path, device)
        return self._worker

    def load(self) -> None:
        try:
            self.worker.start(self.description.seconds)
        except WorkerError as error:
            legal = f"an undamaged {self.kind} file"
            raise UsageError(explain(self.argument, self.path, str(error), legal)) from None

    def identity(self) -> dict[str, Any]:
        content = hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]
        settings = self.description.model_dump(mode="json")
        return {"name": self.name, "file": content, "settings": settings}

    def segment(self, volume: Volume, mask: np.ndarray | None = None) -> Segmentation:
        turn = Turn.of(volume)
        inside = checked_foreground(mask, volume)
        labels, record = self._segment(turn.image(volume), turn.array(inside))
        return Segmentation(turn.image_back(labels, volume), record)

    def _segment(self, volume: Volume, mask: np.ndarray) -> tuple[LabelVolume, dict[str, Any]]:
        told, air = self.description, background_value(volume)
        grid = told.grid(volume, mask)
        array = np.where(mask, volume.array, air) if told.brain_only else volume.array
        foreground = grid.apply(mask.astype(np.uint8), labels=True).astype(bool)
        image = told.scaled(grid.apply(array, fill=air), foreground)
        start = perf_counter()
        scores = self._scores(image, foreground)
        labels = self._labels(scores, grid, volume, mask)
        record = {
            "grid": grid.model_dump(mode="json"),
            "settings": told.model_dump(mode="json"),
            "seconds": round(perf_counter() - start, 3),
        }
        return labels, record

    def _scores(self, image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
        """What the network makes of an image (X, Y, Z): (classes, X, Y, Z)."""
        context = self.description.context
        samples = context.samples(image)
        places = self._places(image.shape) if self.description.coordinates else None
        if context.kind == "3d":
            indices = [0]
        else:
            indices = [int(k) for k in np.flatnonzero(foreground.any(axis=(0, 1)))]
        classes = len(self.labels)
        made = np.zeros((len(samples), classes, *samples.shape[2:]), np.float32)
        made[:, 0] = 1
        size = self.resources.batch
        with progress("segment", -(-len(indices) // size)) as bar:
            for first in range(0, len(indices), size):
                some = indices[first : first + size]
                inputs = [samples[some]] + ([] if places is None else [places[some]])
                made[some] = self._run(inputs, (len(some), classes, *samples.shape[2:]))
                bar(1)
        return np.stack([context.volume(made[:, k : k + 1]) for k in range(classes)])

    def _places(self, shape: tuple[int, ...]) -> np.ndarray:
        """The second input: the place of each voxel along the axes of the orientation."""
        told = self.description
        order = [0, 1, 2]
        if (axis := told.slice_axis) is not None:  # the axes of the image → of the orientation
            others = [k for k in range(3) if k != axis]
            order = [(*others, axis).index(k) for k in range(3)]
        steps = np.meshgrid(*((np.arange(n) - n // 2) / n for n in shape), indexing="ij")
        channels = [told.context.samples(steps[k].astype(np.float32)) for k in order]
        return np.concatenate(channels, axis=1)

    def _run(self, inputs: list[np.ndarray], wanted: tuple[int, ...]) -> np.ndarray:
        last = self.description.channels_last
        given = [np.moveaxis(one, 1, -1) if last else one for one in inputs]
        try:
            made = self.worker.call(given, self.description.seconds)
        except WorkerError as error:
            legal = f"a network for inputs of shape {_times(given[0].shape)} (see its YAML file)"
            raise CaseError(explain(self.argument, self.name, str(error), legal)) from None
        if last:
            made = np.moveaxis(made, -1, 1)
        if made.shape != wanted:
            problem = f"returned an array of {_times(made.shape)}"
            legal = f"{_times(wanted)}: scores of {wanted[1]} classes for every voxel"
            raise CaseError(explain(self.argument, self.name, problem, legal))
        return made

    def _labels(
        self, scores: np.ndarray, grid: Grid, volume: Volume, mask: np.ndarray
    ) -> LabelVolume:
        best = np.full(volume.shape, -np.inf, np.float32)
        array = np.zeros(volume.shape, np.int16)
        lowest = float(scores.min())
        for channel, label in enumerate(self.labels):
            # What the network did not see is background.
            fill = float(scores.max()) if channel == 0 else lowest
            score = grid.invert(scores[channel], fill=fill)
            array[score > best] = label.value
            best = np.maximum(best, score)
        if self.brain_only:
            array[~mask] = self.labels[0].value
        return LabelVolume(array, volume.affine, self.labels)
