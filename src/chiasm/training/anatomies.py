"""Training images of random heads, which are drawn from label maps for every iteration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chiasm.augment.structures import paint, places
from chiasm.errors import UsageError, explain
from chiasm.image.intensity import IntensityMap
from chiasm.machine.progress import progress
from chiasm.phantom.appearance import BRAIN, CANONICAL, signals
from chiasm.phantom.head_subject import label_maps
from chiasm.phantom.heads import Draw, Head, LabelMap, draw_head, read_label_map
from chiasm.phantom.structures import T1_TOP, TISSUE_OF, TISSUE_VALUES, index_of
from chiasm.training.batch import Batch
from chiasm.training.data import Subject
from chiasm.training.settings import Augmentation, TrainingSettings

# Standard deviation of the blur of the T1 image, in voxels: a voxel holds a mean of what is in it.
_PARTIAL_VOLUME = 0.45
# How far the foreground of a whole head can reach beyond the skin, in voxels.
_AROUND = 3
# With `varied`, this share of the images has nearly the same contrast, and the others have one by
# the signal equations. Inside a structure, intensities vary by up to this share of the range.
_CANONICAL, _TEXTURE = 0.4, 0.05


def find_label_maps(folder: Path) -> list[Subject]:
    """Find the label maps in a folder, one for each subject.

    Raises
    ------
    CaseError
        The folder is not there, or holds no image file.
    """
    found = label_maps(folder, "-i")
    return [Subject(path.name.split(".")[0], path, "dseg") for path in found]


class AnatomySamples:
    """Random heads from the label maps of some subjects.

    A head is drawn for each sample of each batch, on the grid of the model, so no image is stored.
    A drawn head can be used again in the next iterations, with other contrasts.

    Parameters
    ----------
    subjects : sequence of Subject
        One label map for each.
    settings : TrainingSettings
        With ``anatomies``.
    divisible_by : int
        Every spatial size of a sample is a multiple of this.
    channels : mapping
        Label value of a tissue → the network's channel. With it, each sample has labels.

    Raises
    ------
    CaseError
        A label map cannot be read, or holds an unknown label.
    UsageError
        The grid of the model is not isotropic, or the target is none that can be drawn.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: TrainingSettings,
        *,
        divisible_by: int,
        channels: Mapping[int, int] | None = None,
    ) -> None:
        assert settings.anatomies is not None  # the data module asks for this class only then
        self.settings, self.heads = settings, settings.anatomies
        self.divisible_by = divisible_by
        self.spacing = _isotropic(settings)
        if settings.target not in CANONICAL:
            problem = "cannot be drawn from label maps"
            raise UsageError(explain("target", settings.target, problem, ", ".join(CANONICAL)))
        channel = [(channels or {}).get(TISSUE_VALUES[one], 0) for one in TISSUE_OF]
        self.channel = torch.tensor(channel) if channels else None
        self.maps_of: list[LabelMap] = []
        with progress("read", len(subjects)) as advance:
            for subject in subjects:
                self.maps_of.append(read_label_map(subject.image))
                advance(1)
        self.unstripped = [self.heads.stripped < 1]
        scale = IntensityMap(low=0, high=T1_TOP, units="a.u.", background=0)
        self.maps = defaultdict(list, {settings.target: [scale]})
        self.t1 = torch.from_numpy(CANONICAL[settings.target]())
        self.places = {
            stripped: [places(self._counts(one, stripped=stripped)) for one in self.maps_of]
            for stripped in (True, False)
        }
        brains = [self.t1[one.long()].numpy() for one in self.places[True]]
        levels = [np.quantile(one, np.linspace(0, 1, 257)) for one in brains]
        self.quantiles = defaultdict(list, {settings.target: levels})
        self.drawn = lru_cache(maxsize=4 * settings.batch)(self._draw)

    def __len__(self) -> int:
        return len(self.maps_of)

    def check(self, augmentation: Augmentation) -> None:
        """Raise `UsageError` if no box is set, or the network cannot take it."""
        crop = augmentation.crop
        if crop is None or any(size % self.divisible_by for size in crop):
            legal = f"multiples of {self.divisible_by}, because heads are drawn in boxes"
            raise UsageError(explain("augmentation.crop", crop, "is no size of a box", legal))

    def batch(self, size: int, draw: tuple[int, ...], augmentation: Augmentation | None) -> Batch:
        """A batch of random heads; the same ``draw`` (seed, step) gives the same batch."""
        seed, step = draw[0], draw[1]
        reuse = self.heads.reuse
        samples = []
        for index in range(size):
            # Each place in the batch keeps its head for some iterations; they change in turn.
            since = (step + index) // reuse if augmentation else step
            samples.append(self._sample(seed, since * size + index, step * size + index))
        image, mask, structures, chosen, population = (
            torch.stack(one) for one in zip(*samples, strict=True)
        )
        batch = Batch(image, mask, population, structures=structures, places=chosen)
        if self.channel is None:
            return batch
        labels = self.channel[batch.centre_structures.long()] * batch.centre_mask
        return replace(batch, labels=labels)

    def _counts(self, one: LabelMap, *, stripped: bool) -> Tensor:
        """Voxels of each structure in the foreground of a whole head, or of a stripped brain."""
        counts = torch.from_numpy(one.counts.astype(np.float64))
        counts[index_of("air")] = 0
        muscle, fat = index_of("muscle"), index_of("fat")
        counts[muscle] = counts[fat] = (counts[muscle] + counts[fat]) / 2
        if stripped:
            counts[~torch.from_numpy(BRAIN)] = 0
            counts[index_of("csf")] /= 2  # a brain mask leaves out part of the CSF around the brain
        sulci = one.deeper(float(np.mean(self.heads.cortical_thickness)))
        counts[index_of("cortex")] -= sulci
        counts[index_of("csf")] += sulci
        return counts

    def _sample(self, seed: int, number: int, again: int) -> tuple[Tensor, ...]:
        """Image, mask, structures and places of one sample: (images, \\*spatial) each."""
        which, head, axis = self.drawn(seed, number)
        stripped, mirrored, place = np.random.default_rng((seed, again, 7)).random(3)
        alone = bool(stripped < self.heads.stripped)
        structures, brain = head.structures, head.brain
        if self.settings.context.spatial_dims == 2:
            first, images = int(place * self.heads.slab), self.settings.context.images
            structures, brain = (x.narrow(axis, first, images) for x in (structures, brain))
        mask = brain if alone else _foreground(structures)
        places_here = self.places[alone][which]
        if self.heads.varied:
            drawn = _generator(seed, again, 1)
            image, population = self._varied(structures, places_here, drawn)
        else:
            image, population = self.t1[structures.long()], self.t1[places_here.long()]
        image = _blurred(image) * mask
        turned = (one.flip(0) if mirrored < 0.5 else one for one in (image, mask, structures))
        return *(self._laid(one, axis) for one in turned), places_here, population

    def _varied(
        self, structures: Tensor, places_here: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """An image and a population with the contrast of a random scan of the target."""
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        if rng.random() < _CANONICAL:
            means = self.t1 * torch.from_numpy(rng.normal(1, 0.06, len(self.t1)).astype("f4"))
        else:
            means = torch.from_numpy(signals(rng, self.settings.target))
        chosen = means[places_here.long()]
        deviations = _TEXTURE * float(rng.random()) * chosen.max() * (means != 0)
        image = paint(structures, means, deviations, generator)
        low, high = chosen.quantile(torch.tensor([0.005, 0.995]))
        width = (high - low).clamp(min=1e-6)
        return ((image - low) / width).clamp(0, 1), ((chosen - low) / width).clamp(0, 1)

    def _laid(self, box: Tensor, axis: int) -> Tensor:
        """A box as one network input: (images, \\*spatial); slices are stacked along ``axis``."""
        samples = self.settings.context.samples(np.moveaxis(box.numpy(), axis, 2))
        return torch.from_numpy(np.ascontiguousarray(samples[len(samples) // 2]))

    def _draw(self, seed: int, number: int) -> tuple[int, Head, int]:
        """Head number ``number``, the index of its label map, and the axis of its slices."""
        crop, context = self.settings.augmentation.crop, self.settings.context
        assert crop is not None  # `check` was called
        generator = _generator(seed, number)
        draw = Draw(generator)
        which, axis, shape = draw.below(len(self.maps_of)), 2, list(crop)
        if context.spatial_dims == 2:
            grids = self.settings.grids
            axis = grids[draw.below(len(grids))].slice_axis
            shape.insert(axis, context.images + self.heads.slab - 1)
        x, y, z = shape
        return (
            which,
            draw_head(self.maps_of[which], (x, y, z), self.spacing, self.heads, generator),
            axis,
        )


def _generator(*key: int) -> torch.Generator:
    """A generator from whole numbers. Torch's own seed will not do: it keeps only 32 bits of it."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def _isotropic(settings: TrainingSettings) -> float:
    """The spacing of the boxes; slices may leave the distance between them to the scan."""
    first, second, third = settings.grid.spacing
    if settings.context.spatial_dims == 2 and third is None:
        third = first
    if first is None or not first == second == third:
        legal = "equal numbers, because heads are drawn on isotropic grids"
        raise UsageError(explain("grid.spacing", settings.grid.spacing, "is not equal", legal))
    return first


def _foreground(structures: Tensor) -> Tensor:
    """The head with a rim of air: bool."""
    head = (structures != index_of("air")).float()[None, None]
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        if structures.shape[axis] > 1:
            size[axis], pad[axis] = 2 * _AROUND + 1, _AROUND
        head = functional.max_pool3d(head, size, 1, pad)
    return head[0, 0] > 0.5


def _blurred(image: Tensor) -> Tensor:
    """Average neighbouring voxels, so that borders between structures hold mixtures."""
    weight = float(np.exp(-0.5 / _PARTIAL_VOLUME**2))
    kernel = torch.tensor([weight, 1, weight]) / (1 + 2 * weight)
    blurred = image[None, None]
    for axis in range(3):
        if image.shape[axis] == 1:
            continue
        shape, pad = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = 3
        pad[4 - 2 * axis] = pad[5 - 2 * axis] = 1
        padded = functional.pad(blurred, pad, mode="replicate")
        blurred = functional.conv3d(padded, kernel.view(shape))
    return blurred[0, 0]
