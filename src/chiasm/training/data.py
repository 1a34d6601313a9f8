"""The training images: subjects, their split, and batches that depend only on the step."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from chiasm.files.beside import foreground_beside
from chiasm.files.find import find_images
from chiasm.files.subject import subject_of
from chiasm.image.foreground import looks_unstripped
from chiasm.image.intensity import IntensityMap
from chiasm.image.modality import split_modality
from chiasm.image.orientation import Turn
from chiasm.image.preparation import Prepared, prepare, prepare_onto
from chiasm.image.volume import Volume
from chiasm.machine.progress import progress
from chiasm.training.batch import Batch
from chiasm.training.settings import Augmentation, TrainingSettings
from chiasm.training.several_devices import Process

# Number of quantiles that represent the intensities of a volume.
_log = logging.getLogger("chiasm")
_POPULATION = 1025


@dataclass(frozen=True)
class Subject:
    """A subject's scan of one modality, with its label map and source scans if needed."""

    name: str
    image: Path
    modality: str
    labels: Path | None = None
    sources: tuple[Subject, ...] = ()


def find_subjects(folder: Path, modality: str, *, with_labels: bool = False) -> list[Subject]:
    """Find the subjects of a BIDS dataset, or of a folder with one image for each subject.

    Only files whose names end with the modality are used; the voxels of others are never read.
    Images and label maps that Chiasm made are left out, and so is everything that
    `chiasm.files.find.find_scans` leaves out.

    Raises
    ------
    CaseError
        There is no such image, or (with ``with_labels``) an image has no label map beside it.
    """
    found = []
    for image in find_images(folder, modality=modality):
        name, _ = subject_of(image, folder)
        labels = None
        if with_labels:
            stem, _ = split_modality(files.stem(image))
            matches = [image.with_name(f"{stem}_dseg{suffix}") for suffix in files.endings()]
            there = [match for match in matches if match.is_file()]
            labels = next((one for one in there if not files.made_by_chiasm(one)), None)
            if labels is None:
                legal = f"a label map {stem}_dseg.nii.gz in the same folder"
                problem = "has no label map" + " but one that Chiasm made" * bool(there)
                raise CaseError(explain("-i", image, problem, legal))
        found.append(Subject(name, image, modality, labels))
    return found


def split(
    subjects: Sequence[Subject], settings: TrainingSettings
) -> tuple[list[Subject], list[Subject]]:
    """Split the subjects into training and validation subjects.

    All images of a subject are in one part of the split.

    Raises
    ------
    CaseError
        There are fewer than two subjects.
    UsageError
        An explicit split that is empty on a side, or names a subject that is not there.
    """
    names = sorted({subject.name for subject in subjects})
    if len(names) < 2:
        problem = f"holds {len(names)} subject"
        raise CaseError(explain("-i", names[0], problem, "at least 2, to keep one for validation"))
    validation = set(settings.validation_subjects)
    train = set(settings.train_subjects)
    if unknown := (validation | train) - set(names):
        legal = f"subjects of the folder: {', '.join(names)}"
        raise UsageError(explain("split", sorted(unknown), "does not exist", legal))
    if not validation:
        rest = [name for name in names if name not in train]
        count = max(1, round(settings.validation_share * len(names)))
        drawn = np.random.default_rng(settings.seed).permutation(rest)[
            : count if not train else None
        ]
        validation = {str(name) for name in drawn}
    train = train or set(names) - validation
    if not validation or not train:
        sizes = f"{len(train)} + {len(validation)}"
        legal = "at least 1 subject for the training and 1 for the validation"
        raise UsageError(explain("split", sizes, "has a part without subjects", legal))
    return (
        [subject for subject in subjects if subject.name in train],
        [subject for subject in subjects if subject.name in validation],
    )


class Samples:
    """All samples of some subjects, held in memory.

    Parameters
    ----------
    subjects : sequence of Subject
    settings : TrainingSettings
    divisible_by : int
        Every spatial size of a sample is a multiple of this.
    channels : mapping
        Label value → the network's channel. Any other value is background.

    Raises
    ------
    CaseError
        A scan or a label map cannot be read or prepared.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: TrainingSettings,
        *,
        divisible_by: int,
        channels: Mapping[int, int] | None = None,
    ) -> None:
        # For each modality, the intensity maps of its scans and the quantiles on [0, 1].
        self.unstripped: list[bool] = []
        self.maps: dict[str, list[IntensityMap]] = defaultdict(list)
        self.quantiles: dict[str, list[np.ndarray]] = defaultdict(list)
        images, masks, labels, populations = [], [], [], []
        sources, source_masks, source_populations = [], [], []
        scans = list(product(subjects, settings.grids))
        with progress("read", len(scans)) as advance:
            for subject, grid in scans:
                volume, mask = _read(subject)
                self.unstripped.append(looks_unstripped(volume, mask))
                prepared = prepare(
                    volume, grid, settings.context, divisible_by=divisible_by, mask=mask
                )
                indices = prepared.slice_indices()
                populations += [self._population(subject, prepared)] * len(indices)
                images += list(prepared.samples()[indices])
                masks += list(settings.context.samples(prepared.foreground)[indices])
                if subject.labels is not None:
                    labels += list(_label_samples(subject, prepared, channels or {})[indices])
                if subject.sources:
                    beside = [_beside(source, prepared) for source in subject.sources]
                    each = [one.samples()[indices] for one in beside]
                    inside = [settings.context.samples(one.foreground)[indices] for one in beside]
                    both = zip(subject.sources, beside, strict=True)
                    values_of = np.stack([self._population(*one) for one in both])
                    sources += list(np.stack(each, axis=1))
                    source_masks += list(np.stack(inside, axis=1))
                    source_populations += [values_of] * len(indices)
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
        """Quantiles of the intensities in a scan's foreground; its intensity map is kept too."""
        inside = prepared.image[prepared.foreground]
        population = np.quantile(inside, np.linspace(0, 1, _POPULATION))
        self.maps[scan.modality].append(prepared.intensity)
        self.quantiles[scan.modality].append(population[:: (_POPULATION - 1) // 256])
        return population.astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, size: int, draw: tuple[int, ...], augmentation: Augmentation | None) -> Batch:
        """A batch of random samples; the same ``draw`` (seed, step) gives the same batch."""
        rng = np.random.default_rng(draw)
        which = torch.from_numpy(rng.integers(0, len(self), size))
        # Sources have their own random stream, so that they do not change the other draws.
        drawn = self._drawn(which, np.random.default_rng((*draw, 1)))
        if augmentation is None:
            return drawn
        if augmentation.crop is not None:
            drawn = _cropped(drawn, np.random.default_rng((*draw, 2)), augmentation.crop)
        if not augmentation.rotation and not augmentation.scale:
            return _flipped(drawn, rng, augmentation.flip)
        return _warped(drawn, rng, augmentation)

    def check(self, augmentation: Augmentation) -> None:
        """Raise `UsageError` if the crop cannot be cut from these samples."""
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
        """The samples ``which``, each with one of its sources if there are any."""
        image, mask, population = self.images[which], self.masks[which], self.populations[which]
        labels = None if self.labels is None else self.labels[which].long()
        if self.sources is None or self.source_masks is None:
            return Batch(image, mask, population, labels)
        chosen = torch.from_numpy(rng.integers(0, self.sources.shape[1], len(which)))
        source, source_mask = self.sources[which, chosen], self.source_masks[which, chosen]
        return Batch(image, mask, population, labels, source, source_mask)


# The fields of a batch that have the voxels of the images.
_SPATIAL = ("image", "mask", "labels", "source", "source_mask", "every", "structures")


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch after a change of all fields that have voxels."""
    held = {key: getattr(batch, key) for key in _SPATIAL}
    return replace(batch, **{key: change(x) for key, x in held.items() if x is not None})


def _cropped(batch: Batch, rng: np.random.Generator, size: Sequence[int]) -> Batch:
    """Cut a box around a random voxel of the foreground from each sample, inside the image."""
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
        indices = ((one, [slice(a // shrink, b // shrink) for a, b in box]) for one, box in each)
        return torch.stack([one[(..., *box)] for one, box in indices])

    latents, mirrored = (
        None if one is None else cut(one, step) for one in (batch.latents, batch.mirrored)
    )
    return replace(_each(batch, cut), latents=latents, mirrored=mirrored)


def _flipped(batch: Batch, rng: np.random.Generator, share: float) -> Batch:
    """Mirror a share of the samples left to right, without interpolation."""
    turned = torch.from_numpy(rng.random(len(batch.image)) < share)
    some = turned.view(-1, *(1,) * (batch.image.ndim - 1))
    flipped = _each(batch, lambda x: torch.where(some, x.flip(2), x))
    if batch.latents is None or batch.mirrored is None:
        return flipped
    latents = torch.where(some[..., None], batch.mirrored.flip(3), batch.latents)
    return replace(flipped, latents=latents, mirrored=None)


def _warped(batch: Batch, rng: np.random.Generator, augmentation: Augmentation) -> Batch:
    """Rotate, scale and mirror each sample at random, all its images in the same way."""
    grid = _random_grid(rng, batch.image.shape, augmentation)

    # The interpolation is cubic where torch offers it, because a linear one blurs the images.
    smooth = "bicubic" if batch.image.ndim == 4 else "bilinear"

    def warp(x: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(x.float(), grid, mode=mode, align_corners=False)

    mask = warp(batch.mask, "nearest") > 0.5
    moved: dict[str, Any] = {"image": warp(batch.image, smooth).clamp(0, 1) * mask, "mask": mask}
    moved |= {"latents": None, "mirrored": None}  # they belong to the images before the change
    if batch.labels is not None:
        moved["labels"] = warp(batch.labels, "nearest").long()
    if batch.source is not None and batch.source_mask is not None:
        moved["source_mask"] = warp(batch.source_mask, "nearest") > 0.5
        moved["source"] = warp(batch.source, smooth).clamp(0, 1) * moved["source_mask"]
    if batch.every is not None:
        moved["every"] = warp(batch.every, smooth).clamp(0, 1)
    return replace(batch, **moved)


def _read(subject: Subject) -> tuple[Volume, np.ndarray | None]:
    """Read a subject's scan, and the brain mask beside it, in canonical order as in a run."""
    stored = files.read(subject.image, modality=subject.modality)
    foreground, warnings, _ = foreground_beside(subject.image, stored)
    for warning in warnings:
        _log.warning("chiasm: warning: %s: %s", subject.image, warning)
    turn = Turn.of(stored)
    return turn.image(stored), None if foreground is None else turn.array(foreground)


def _beside(source: Subject, prepared: Prepared) -> Prepared:
    """Prepare another scan of a subject on the grid of the first."""
    volume, mask = _read(source)
    try:
        return prepare_onto(volume, prepared, mask=mask)
    except CaseError as error:
        raise CaseError(f"-i {source.image}: {error}") from None


def _label_samples(subject: Subject, prepared: Prepared, known: Mapping[int, int]) -> np.ndarray:
    stored = files.read_labels(subject.labels or "")
    labels = Turn.of(stored).image(stored)
    if not labels.same_grid(prepared.volume):
        problem = f"has another grid than {subject.image.name}"
        raise CaseError(explain("-i", subject.labels, problem, "the image's shape and affine"))
    array = prepared.grid.apply(labels.array, fill=0, labels=True)
    channels = np.zeros(array.shape, dtype=np.uint8)
    for value, channel in known.items():
        channels[array == value] = channel
    samples = prepared.context.samples(channels)
    middle = samples.shape[1] // 2
    return samples[:, middle : middle + 1]


def _stacked(samples: list[np.ndarray], spatial: tuple[int, ...]) -> Tensor:
    """Stack samples into one tensor; each is padded at its ends to the same spatial size."""
    padded = []
    for sample in samples:
        first = sample.ndim - len(spatial)
        extra = [(0, full - n) for full, n in zip(spatial, sample.shape[first:], strict=True)]
        padded.append(np.pad(sample, [(0, 0)] * first + extra))
    return torch.from_numpy(np.stack(padded))


def _random_grid(rng: np.random.Generator, shape: torch.Size, settings: Augmentation) -> Tensor:
    """Sampling grid of a random in-plane rotation, scale and left-right flip of each sample."""
    size, dims, spatial = shape[0], len(shape) - 2, shape[2:]
    angle = np.deg2rad(rng.uniform(-1, 1, size) * settings.rotation)
    scale = 1 + rng.uniform(-1, 1, (size, dims)) * settings.scale
    # Samples are (R, A[, S]). affine_grid counts axes from the last: A, R in 2D and S, A, R in 3D.
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
    """The batches of a run from step ``start()`` to the last step.

    ``start`` is called when the iteration begins, after a checkpoint has been restored. Each of
    several processes draws its own share of every batch.
    """

    def __init__(
        self,
        samples: Samples,
        settings: TrainingSettings,
        start: Callable[[], int],
        process: Process | None = None,
    ) -> None:
        super().__init__()
        self.process = process or Process()
        self.samples = samples
        self.settings = settings
        self.start = start

    def __len__(self) -> int:
        return self.settings.iterations

    def __iter__(self) -> Iterator[Batch]:
        chosen = self.settings
        size, seed = self.process.share(chosen.batch), self.process.seed(chosen.seed)
        for step in range(self.start(), chosen.iterations):
            yield self.samples.batch(size, (seed, step), chosen.augmentation)
