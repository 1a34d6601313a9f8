"""A segmentation network that sees a translation beside the scan it was made from."""

from __future__ import annotations

import numpy as np

from chiasm.errors import CaseError, UsageError, explain
from chiasm.models import ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.preparation import Prepared, prepare_onto
from chiasm.segmenters.network import NetworkSegmenter, SegmentationNetwork
from chiasm.volume import Volume


class JointSegmenter(NetworkSegmenter):
    """Runs a `SegmentationNetwork` whose channels are the source's, then the translation's."""

    needs_source = True

    @staticmethod
    def build(config: ModelConfig) -> SegmentationNetwork:
        """The network of a config, with fresh weights."""
        return SegmentationNetwork(
            NetworkSettings.model_validate(config.network),
            len(config.labels),
            spatial_dims=config.context.spatial_dims,
            images=2 * config.context.images,
        )

    def samples(self, prepared: Prepared, source: Volume | None) -> np.ndarray:
        if source is None:
            problem = "sees a scan beside its translation, and there is no scan"
            legal = "`chiasm run`, source= in Python, or a segmenter of one image"
            raise UsageError(explain("--segmenter", self.model.name, problem, legal))
        if not source.same_grid(prepared.volume):
            problem = f"lies on another grid than the translation {prepared.volume!r}"
            raise CaseError(explain("source", repr(source), problem, "the scan it was made from"))
        # The head is one and the same, so it is not sought again.
        beside = prepare_onto(source, prepared, mask=prepared.mask)
        return np.concatenate([beside.samples(), prepared.samples()], axis=1)
