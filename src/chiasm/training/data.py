"""The training images: scans split by subject, and batches that depend on the step alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import IterableDataset

from chiasm import files
from chiasm.errors import CaseError, UsageError, explain
from chiasm.intensity import IntensityMap
from chiasm.modality import split_modality
from chiasm.preparation import Prepared, prepare, prepare_onto
from chiasm.progress import progress
from chiasm.subject import subject_of
from chiasm.training.settings import Augmentation, TrainingSettings

# Quantiles of a volume that stand for its voxels.
_POPULATION = 1025


@dataclass(frozen=True)
class Subject:
    """One subject's scan of a modality; its label map and its scans of sources, if needed."""

    name: str
    image: Path
    modality: str
    labels: Path | None = None
    sources: tuple[Subject, ...] = ()


def find_subjects(folder: Path, modality: str, *, with_labels: bool = False) -> list[Subject]:
    """The subjects of a BIDS dataset, or of a folder with one image for each.

    Only files whose names end with the modality are taken; the others are never opened.

    Raises
    ------
    CaseError
        No such image, or (``with_labels``) a label map missing beside one.
    """
    found = []
    for image in files.find_images(folder, modality=modality):
        name, _ = subject_of(image, folder)
        labels = None
        if with_labels:
            stem, _ = split_modality(files.stem(image))
            matches = [image.with_name(f"{stem}_dseg{suffix}") for suffix in files.SUFFIXES]
            labels = next((match for match in matches if match.is_file()), None)
            if labels is None:
                legal = f"a label map {stem}_dseg.nii.gz in the same folder"
                raise CaseError(explain("-i", image, "has no label map", legal))
        found.append(Subject(name, image, modality, labels))
    return found


def split(
    subjects: Sequence[Subject], settings: TrainingSettings
) -> tuple[list[Subject], list[Subject]]:
    """Training and validation subjects; all images of a subject fall on one side.

    Raises
    ------
    CaseError
        Fewer than two subjects.
    UsageError
        An explicit split that overlaps, is empty on a side, or names a subject that is not there.
    """
    names = sorted({subject.name for subject in subjects})
    if len(names) < 2:
        problem = f"holds {len(names)} subject"
        raise CaseError(explain("-i", names[0], problem, "at least 2, to keep one for validation"))
    validation = set(settings.validation_subjects)
    train = set(settings.train_subjects)
    if overlap := validation & train:
        legal = "subjects on one side of the split alone"
        raise UsageError(explain("validation_subjects", sorted(overlap), "also trains", legal))
    if unknown := (validation | train) - set(names):
        legal = f"subjects of the folder: {', '.join(names)}"
        raise UsageError(explain("split", sorted(unknown), "is not there", legal))
    if not validation:
        rest = [name for name in names if name not in train]
        count = max(1, round(settings.validation_share * len(names)))
        drawn = np.random.default_rng(settings.seed).permutation(rest)[
            : count if not train else None
        ]
        validation = {str(name) for name in drawn}
    train = train or set(names) - validation
    if not validation or not train:
        raise UsageError(
            explain(
                "split", f"{len(train)} + {len(validation)}", "is empty on one side", "≥ 1 each"
            )
        )
    return (
        [subject for subject in subjects if subject.name in train],
        [subject for subject in subjects if subject.name in validation],
    )


@dataclass(frozen=True)
class Batch:
    """Training samples: image (B, images, \\*spatial) in [0, 1], its head, its labels.

    ``population`` (B, Q) holds the intensities of each sample's whole volume, as quantiles.
    ``source`` (B, images, \\*spatial) and ``source_mask`` are of another modality, for methods that
    read one: paired, it lies voxel on voxel with the image; unpaired, its size may differ.
    ``modality`` and ``source_modality`` (B,) say which of several they are, by index; ``every``
    (B, modalities, \\*spatial) holds the middle image of them all, ``latents``
    (B, modalities, channels, \\*spatial / factor) the same part of what an encoder made of their
    whole images, if it did, and ``mirrored`` of what it made of them mirrored, laid back onto the
    same voxels; both in half precision.
    """

    image: Tensor
    mask: Tensor
    population: Tensor
    labels: Tensor | None = None
    source: Tensor | None = None
    source_mask: Tensor | None = None
    modality: Tensor | None = None
    source_modality: Tensor | None = None
    every: Tensor | None = None
    latents: Tensor | None = None
    mirrored: Tensor | None = None

    @property
    def factor(self) -> int:
        """How many voxels along an axis are one of the latents'; 1 without latents."""
        if self.latents is None:
            return 1
        return self.image.shape[-1] // self.latents.shape[-1]

    @property
    def centre(self) -> Tensor:
        """The slice that is to be made: (B, 1, \\*spatial)."""
        middle = self.image.shape[1] // 2
        return self.image[:, middle : middle + 1]

    @property
    def centre_mask(self) -> Tensor:
        """Its head: bool, (B, 1, \\*spatial)."""
        middle = self.mask.shape[1] // 2
        return self.mask[:, middle : middle + 1]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        moved: dict[str, Any] = {
            key: None if one is None else one.to(device) for key, one in vars(self).items()
        }
        return Batch(**moved)


class Samples:
    """All samples of some subjects, in memory.

    Parameters
    ----------
    subjects : sequence of Subject
    settings : TrainingSettings
    divisible_by : int
        Of the network.
    values : tuple of int
        Label values in the order of the network's channels; any other value is background.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: TrainingSettings,
        *,
        divisible_by: int,
        values: tuple[int, ...] = (),
    ) -> None:
        # What each modality's scans have on [0, 1]: their own maps, and how their values lie there.
        self.maps: dict[str, list[IntensityMap]] = defaultdict(list)
        self.quantiles: dict[str, list[np.ndarray]] = defaultdict(list)
        images, masks, labels, populations = [], [], [], []
        sources, source_masks, source_populations = [], [], []
        scans = list(product(subjects, settings.grids))
        with progress("read", len(scans)) as advance:
            for subject, grid in scans:
                volume = files.read(subject.image, modality=subject.modality)
                prepared = prepare(volume, grid, settings.context, divisible_by=divisible_by)
                places = prepared.places()
                populations += [self._population(subject, prepared)] * len(places)
                images += list(prepared.samples()[places])
                masks += list(settings.context.samples(prepared.head)[places])
                if subject.labels is not None:
                    labels += list(
                        _label_samples(subject, prepared, values, settings.merge_labels)[places]
                    )
                if subject.sources:
                    beside = [_beside(source, prepared) for source in subject.sources]
                    each = [one.samples()[places] for one in beside]
                    heads = [settings.context.samples(one.head)[places] for one in beside]
                    both = zip(subject.sources, beside, strict=True)
                    values_of = np.stack([self._population(*one) for one in both])
                    sources += list(np.stack(each, axis=1))
                    source_masks += list(np.stack(heads, axis=1))
                    source_populations += [values_of] * len(places)
                advance(1)
        spatial = tuple(np.max([image.shape[1:] for image in images], axis=0))
        self.divisible_by = divisible_by
        self.images = _stacked(images, spatial)
        self.masks = _stacked(masks, spatial)
        self.populations = torch.from_numpy(np.stack(populations))
        self.labels = _stacked(labels, spatial) if labels else None
        # (N, sources, images, *spatial)
        self.sources = _stacked(sources, spatial) if sources else None
        self.source_masks = _stacked(source_masks, spatial) if sources else None
        self.source_populations = (
            torch.from_numpy(np.stack(source_populations)) if sources else None
        )

    def _population(self, scan: Subject, prepared: Prepared) -> np.ndarray:
        """The intensities in a scan's head, as quantiles; its modality's scale is kept."""
        inside = prepared.image[prepared.head]
        population = np.quantile(inside, np.linspace(0, 1, _POPULATION))
        self.maps[scan.modality].append(prepared.intensity)
        self.quantiles[scan.modality].append(population[:: (_POPULATION - 1) // 256])
        return population.astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, size: int, draw: tuple[int, ...], augmentation: Augmentation | None) -> Batch:
        """Random samples; the same ``draw`` (seed, step) gives the same batch."""
        rng = np.random.default_rng(draw)
        which = torch.from_numpy(rng.integers(0, len(self), size))
        # A stream of its own: the other draws are the same with sources and without.
        drawn = self._drawn(which, np.random.default_rng((*draw, 1)))
        if augmentation is None:
            return drawn
        if augmentation.crop is not None:
            drawn = _cropped(drawn, np.random.default_rng((*draw, 2)), augmentation.crop)
        if not augmentation.rotation and not augmentation.scale:
            return _flipped(drawn, rng, augmentation.flip)
        return _warped(drawn, rng, augmentation)

    def check(self, augmentation: Augmentation) -> None:
        """Raise `UsageError` where no such box can be cut from these samples."""
        crop, spatial = augmentation.crop, list(self.images.shape[2:])
        if crop is None:
            return
        fits = len(crop) == len(spatial) and all(
            one <= whole and one % self.divisible_by == 0
            for one, whole in zip(crop, spatial, strict=True)
        )
        if not fits:
            problem = "cannot be cut from the samples"
            legal = f"multiples of {self.divisible_by} up to {spatial}, or null"
            raise UsageError(explain("augmentation.crop", crop, problem, legal))

    def _drawn(self, which: Tensor, rng: np.random.Generator) -> Batch:
        """These samples, each with one of its sources, if there are any."""
        image, mask, population = self.images[which], self.masks[which], self.populations[which]
        labels = None if self.labels is None else self.labels[which].long()
        if self.sources is None or self.source_masks is None:
            return Batch(image, mask, population, labels)
        chosen = torch.from_numpy(rng.integers(0, self.sources.shape[1], len(which)))
        source, source_mask = self.sources[which, chosen], self.source_masks[which, chosen]
        return Batch(image, mask, population, labels, source, source_mask)


# What of a batch has voxels.
_SPATIAL = ("image", "mask", "labels", "source", "source_mask", "every")


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with all that has voxels changed."""
    held = {key: getattr(batch, key) for key in _SPATIAL}
    return replace(batch, **{key: change(x) for key, x in held.items() if x is not None})


def _cropped(batch: Batch, rng: np.random.Generator, size: Sequence[int]) -> Batch:
    """Of each sample a box about a random voxel of its head, inside the image."""
    step = batch.factor
    boxes = []
    for mask in batch.centre_mask[:, 0]:
        inside = mask.nonzero()
        at = inside[rng.integers(len(inside))].tolist() if len(inside) else [0] * mask.ndim
        starts = [
            min(max(0, centre - one // 2), whole - one) // step * step
            for centre, one, whole in zip(at, size, mask.shape, strict=True)
        ]
        boxes.append([(start, start + one) for start, one in zip(starts, size, strict=True)])

    def cut(x: Tensor, shrink: int = 1) -> Tensor:
        each = zip(x, boxes, strict=True)
        places = ((one, [slice(a // shrink, b // shrink) for a, b in box]) for one, box in each)
        return torch.stack([one[(..., *place)] for one, place in places])

    latents, mirrored = (
        None if one is None else cut(one, step) for one in (batch.latents, batch.mirrored)
    )
    return replace(_each(batch, cut), latents=latents, mirrored=mirrored)


def _flipped(batch: Batch, rng: np.random.Generator, share: float) -> Batch:
    """A share of the samples mirrored left to right, voxel by voxel."""
    turned = torch.from_numpy(rng.random(len(batch.image)) < share)
    some = turned.view(-1, *(1,) * (batch.image.ndim - 1))
    flipped = _each(batch, lambda x: torch.where(some, x.flip(2), x))
    if batch.latents is None or batch.mirrored is None:
        return flipped
    latents = torch.where(some[..., None], batch.mirrored.flip(3), batch.latents)
    return replace(flipped, latents=latents, mirrored=None)


def _warped(batch: Batch, rng: np.random.Generator, augmentation: Augmentation) -> Batch:
    """The batch under one random geometry for each sample, the same for all that it holds."""
    grid = _random_grid(rng, batch.image.shape, augmentation)

    # Cubic where torch has it: linear interpolation would teach a blur.
    smooth = "bicubic" if batch.image.ndim == 4 else "bilinear"

    def warp(x: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(x.float(), grid, mode=mode, align_corners=False)

    mask = warp(batch.mask, "nearest") > 0.5
    moved: dict[str, Any] = {"image": warp(batch.image, smooth).clamp(0, 1) * mask, "mask": mask}
    moved |= {"latents": None, "mirrored": None}  # of the images as they were
    if batch.labels is not None:
        moved["labels"] = warp(batch.labels, "nearest").long()
    if batch.source is not None and batch.source_mask is not None:
        moved["source_mask"] = warp(batch.source_mask, "nearest") > 0.5
        moved["source"] = warp(batch.source, smooth).clamp(0, 1) * moved["source_mask"]
    if batch.every is not None:
        moved["every"] = warp(batch.every, smooth).clamp(0, 1)
    return replace(batch, **moved)


def _beside(source: Subject, prepared: Prepared) -> Prepared:
    """Another scan of a subject, on the lattice of the first."""
    volume = files.read(source.image, modality=source.modality)
    try:
        return prepare_onto(volume, prepared)
    except CaseError as error:
        raise CaseError(f"-i {source.image}: {error}") from None


def _label_samples(
    subject: Subject, prepared: Prepared, values: tuple[int, ...], merged: dict[int, int]
) -> np.ndarray:
    labels = files.read_labels(subject.labels or "")
    if not labels.same_grid(prepared.volume):
        problem = f"lies on another grid than {subject.image.name}"
        raise CaseError(explain("-i", subject.labels, problem, "the image's shape and affine"))
    array = prepared.grid.apply(labels.array, fill=0, labels=True)
    channels = np.zeros(array.shape, dtype=np.uint8)
    merge = dict(zip(values, values, strict=True)) | merged
    for value, meant in merge.items():
        if meant in values:
            channels[array == value] = values.index(meant)
    samples = prepared.context.samples(channels)
    middle = samples.shape[1] // 2
    return samples[:, middle : middle + 1]


def _stacked(samples: list[np.ndarray], spatial: tuple[int, ...]) -> Tensor:
    """One tensor of all samples, each padded at its ends to one spatial size."""
    padded = []
    for sample in samples:
        first = sample.ndim - len(spatial)
        extra = [(0, full - n) for full, n in zip(spatial, sample.shape[first:], strict=True)]
        padded.append(np.pad(sample, [(0, 0)] * first + extra))
    return torch.from_numpy(np.stack(padded))


def _random_grid(rng: np.random.Generator, shape: torch.Size, settings: Augmentation) -> Tensor:
    """Sampling grid of a random in-plane rotation, scale and left-right flip for each sample."""
    size, dims, spatial = shape[0], len(shape) - 2, shape[2:]
    angle = np.deg2rad(rng.uniform(-1, 1, size) * settings.rotation)
    scale = 1 + rng.uniform(-1, 1, (size, dims)) * settings.scale
    # Samples are (R, A[, S]); affine_grid counts axes from the last: A, R in 2D and S, A, R in 3D.
    along_a, along_r = dims - 2, dims - 1
    scale[:, along_r] *= np.where(rng.random(size) < settings.flip, -1, 1)
    ratio = spatial[0] / spatial[1]
    matrix = np.tile(np.eye(dims, dims + 1), (size, 1, 1))
    matrix[:, along_a, along_a] = matrix[:, along_r, along_r] = np.cos(angle)
    matrix[:, along_a, along_r] = -np.sin(angle) * ratio
    matrix[:, along_r, along_a] = np.sin(angle) / ratio
    matrix[:, :, :dims] *= scale[:, None, :]
    return functional.affine_grid(
        torch.from_numpy(matrix).float(), list(shape), align_corners=False
    )


class Batches(IterableDataset):
    """The batches of a run from step ``start()`` to the last.

    Asked when iteration begins: by then a checkpoint has been restored and its step is known.
    """

    def __init__(
        self, samples: Samples, settings: TrainingSettings, start: Callable[[], int]
    ) -> None:
        super().__init__()
        self.samples = samples
        self.settings = settings
        self.start = start

    def __len__(self) -> int:
        return self.settings.iterations

    def __iter__(self) -> Iterator[Batch]:
        chosen = self.settings
        for step in range(self.start(), chosen.iterations):
            yield self.samples.batch(chosen.batch, (chosen.seed, step), chosen.augmentation)
