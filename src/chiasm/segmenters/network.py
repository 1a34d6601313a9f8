"""A segmenter that runs a network from a model folder."""

from __future__ import annotations

from time import perf_counter
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from chiasm.image.context import PLANES
from chiasm.image.grid import FEWEST_IN_PLANE
from chiasm.image.mask import checked_foreground
from chiasm.image.orientation import Turn
from chiasm.image.planes import OWN, grids_of, shown_by
from chiasm.image.preparation import GridSettings, Prepared, prepare, restore_labels
from chiasm.image.volume import Label, Volume
from chiasm.machine.device import Resources, resolve_device
from chiasm.machine.progress import progress
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.segmenters.base import Segmentation, Segmenter

# The canonical axis of each direction.
_ALONG = {"R": "R", "L": "R", "A": "A", "P": "A", "S": "S", "I": "S"}


class SegmentationNetwork(nn.Module):
    """Makes one score for each label from an image.

    Parameters
    ----------
    network : NetworkSettings
    labels : int
        The number of output channels, including the background.
    spatial_dims, images : int
        As in `chiasm.image.context.Context`.
    """

    def __init__(
        self, network: NetworkSettings, labels: int, *, spatial_dims: int, images: int
    ) -> None:
        super().__init__()
        self.network = network.build(spatial_dims, images, labels)

    @property
    def divisible_by(self) -> int:
        """Every spatial size must be a multiple of this."""
        return self.network.divisible_by

    def forward(self, image: Tensor) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → logits (B, labels, \\*spatial)."""
        return self.network(image * 2 - 1, None)


class NetworkSegmenter(Segmenter):
    """Runs a `SegmentationNetwork` from a model folder.

    Parameters
    ----------
    model : Model
        The model of a segmenter.
    resources : Resources
        Batch size and device.
    """

    # The training settings that a finished model keeps.
    model_settings: ClassVar[tuple[str, ...]] = ("fill_holes", "inference_planes")

    def __init__(self, model: Model, resources: Resources | None = None) -> None:
        self.model = model
        self.resources = resources or Resources()
        config = model.config
        self.name = model.name
        self.modality = None if config.any_contrast else config.target
        self.labels = tuple(Label(one.value, one.name, one.colour) for one in config.labels)
        self.brain_only = config.brain_only
        self.grids = grids_of(config.grid, config.settings.get("inference_planes"))

    @staticmethod
    def build(config: ModelConfig) -> SegmentationNetwork:
        """The network of a config, with fresh weights."""
        return SegmentationNetwork(
            NetworkSettings.model_validate(config.network),
            len(config.labels),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    def load(self) -> None:
        self.model.module  # noqa: B018

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "model": self.model.fingerprint}

    def segment(self, volume: Volume, mask: np.ndarray | None = None) -> Segmentation:
        turn = Turn.of(volume)
        inside = checked_foreground(mask, volume)
        made = self._segment(turn.image(volume), turn.array(inside))
        record = {"orientation": volume.orientation, **made.record}
        return Segmentation(turn.image_back(made.labels, volume), record, made.warnings)

    def _segment(self, volume: Volume, mask: np.ndarray) -> Segmentation:
        """Segment a volume in canonical order; its foreground is in the same order."""
        config = self.model.config
        device = resolve_device(self.resources.device)
        module = self.model.module.to(device)
        grids, warnings = self._grids_of(volume)
        inputs = [self._inputs(volume, mask, grid) for grid in grids.values()]
        start = perf_counter()
        size = self.resources.batch
        total = sum(-(-len(prepared.slice_indices()) // size) for prepared, _, _ in inputs)
        views = []
        with torch.inference_mode(), progress("segment", total) as bar:
            for prepared, samples, _ in inputs:
                indices = prepared.slice_indices()
                result = np.zeros(
                    (len(samples), len(config.labels), *samples.shape[2:]), np.float32
                )
                result[:, 0] = 1
                for first in range(0, len(indices), size):
                    some = indices[first : first + size]
                    logits = module(torch.from_numpy(samples[some]).to(device))
                    result[some] = logits.softmax(1).cpu().numpy()
                    bar(1)
                views.append((prepared, result))
        seconds = perf_counter() - start
        prepared, _, facts = inputs[0]
        record = {**prepared.record(), **facts, "seconds": round(seconds, 3), "device": str(device)}
        if OWN not in grids:
            every = zip(grids, inputs, strict=True)
            record["planes"] = {
                name: one.grid.model_dump(mode="json") for name, (one, _, _) in every
            }
        fill = bool(config.settings.get("fill_holes", False))
        labels = restore_labels(views, self.labels, fill_holes=fill)
        return Segmentation(labels, record, warnings)

    def _inputs(
        self, volume: Volume, mask: np.ndarray, grid: GridSettings
    ) -> tuple[Prepared, np.ndarray, dict[str, Any]]:
        """The scan on the lattice, what the network sees of it, and more facts for the record.

        Returns
        -------
        prepared : Prepared
        samples : float array, shape (N, channels, \\*spatial)
            In [0, 1].
        facts : dict
        """
        divisor = self.model.module.divisible_by
        prepared = prepare(volume, grid, self.model.config.context, divisible_by=divisor, mask=mask)
        return prepared, prepared.samples(), {}

    def _grids_of(self, volume: Volume) -> tuple[dict[str, GridSettings], tuple[str, ...]]:
        """The grids for a volume in canonical order, by plane; the labels of all are averaged."""
        if len(self.grids) > 1:
            kept = shown_by(volume, self.grids, self.model.config.grid)
            if OWN not in kept:
                return kept, ()
        grid, warnings = self._grid(volume)
        return {OWN: grid}, warnings

    def _grid(self, volume: Volume) -> tuple[GridSettings, tuple[str, ...]]:
        """The model's grid, or that of another plane if the own one has too few voxels in plane."""
        config, sizes = self.model.config, dict(zip("RAS", volume.shape, strict=True))
        own = config.grid
        if config.context.kind == "3d" or 1 in volume.shape:
            return own, ()
        for grid in (own, *(own.across(plane) for plane in PLANES)):
            stacked = _ALONG[grid.orientation[grid.slice_axis]]
            if min(size for axis, size in sizes.items() if axis != stacked) >= FEWEST_IN_PLANE:
                break
        else:
            return own, ()  # no plane is large enough, so `prepare` raises an error
        if grid.slice_axis == own.slice_axis:
            return own, ()
        plane = next(plane for plane, ways in PLANES.items() if stacked in ways)
        return grid, (
            f"The scan has too few voxels in the plane of the segmenter {self.name}, so it works "
            f"on {plane} slices.",
        )
