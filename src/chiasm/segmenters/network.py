"""A segmentation network from a model folder."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from chiasm.device import resolve_device
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.preparation import Prepared, prepare
from chiasm.progress import progress
from chiasm.segmenters.base import Segmentation, Segmenter
from chiasm.volume import Label, Volume


class SegmentationNetwork(nn.Module):
    """An image → one score for each label.

    Parameters
    ----------
    network : NetworkSettings
    labels : int
        Number of output channels, background among them.
    spatial_dims, images : int
        Of the context.
    """

    def __init__(
        self, network: NetworkSettings, labels: int, *, spatial_dims: int, images: int
    ) -> None:
        super().__init__()
        self.network = network.build(spatial_dims, images, labels)

    @property
    def divisible_by(self) -> int:
        """What every spatial size must be a multiple of."""
        return self.network.divisible_by

    def forward(self, image: Tensor) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → logits (B, labels, \\*spatial)."""
        return self.network(image * 2 - 1, None)


class NetworkSegmenter(Segmenter):
    """Runs a `SegmentationNetwork`."""

    @staticmethod
    def build(config: ModelConfig) -> SegmentationNetwork:
        """The network of a config, with fresh weights."""
        return SegmentationNetwork(
            NetworkSettings.model_validate(config.network),
            len(config.labels),
            spatial_dims=config.context.spatial_dims,
            images=config.context.images,
        )

    def samples(self, prepared: Prepared, source: Volume | None) -> np.ndarray:
        """What the network is given: (N, channels, \\*spatial) in [0, 1]."""
        return prepared.samples()

    def segment(
        self, volume: Volume, mask: np.ndarray | None = None, source: Volume | None = None
    ) -> Segmentation:
        config = self.model.config
        device = resolve_device(self.device)
        module = self.model.module.to(device)
        prepared = prepare(
            volume, config.grid, config.context, divisible_by=module.divisible_by, mask=mask
        )
        start = perf_counter()
        samples, places = self.samples(prepared, source), prepared.places()
        result = np.zeros((len(samples), len(config.labels), *samples.shape[2:]), np.float32)
        result[:, 0] = 1
        total = -(-len(places) // self.batch)
        with torch.inference_mode(), progress("segment", total) as bar:
            for first in range(0, len(places), self.batch):
                some = places[first : first + self.batch]
                logits = module(torch.from_numpy(samples[some]).to(device))
                result[some] = logits.softmax(1).cpu().numpy()
                bar(1)
        labels = tuple(Label(one.value, one.name, one.colour) for one in config.labels)
        seconds = perf_counter() - start
        record = {**prepared.record(), "seconds": round(seconds, 3), "device": str(device)}
        return Segmentation(prepared.restore_labels(result, labels), record)
