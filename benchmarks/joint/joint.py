"""A segmenter that sees a scan beside its own translation of it, for comparison.

It is trained by ``CHIASM_PLUGINS=benchmarks/joint/joint.py chiasm train --method joint-segmenter``
and then used like a segmenter of any modality by ``chiasm segment --segmenter FOLDER``, under the
same environment variable.
"""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from chiasm.augment.contrast import degrade
from chiasm.errors import UsageError, explain
from chiasm.image.preparation import GridSettings, Prepared, prepare_onto
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.models import Model, ModelConfig
from chiasm.networks import NetworkSettings
from chiasm.registry import DEFAULT_MODEL, SEGMENTER_TRAININGS, SEGMENTERS
from chiasm.segmenters.contrast_agnostic import AnyContrastSettings
from chiasm.segmenters.network import NetworkSegmenter, SegmentationNetwork
from chiasm.segmenters.objective import SegmenterObjective
from chiasm.training.batch import Batch

if TYPE_CHECKING:
    from chiasm.methods.base import NetworkTranslator

BENCHMARKS = str(Path(__file__).resolve().parents[1])
if BENCHMARKS not in sys.path:  # where the names registered below are imported from
    sys.path.append(BENCHMARKS)


class JointSegmenter(NetworkSegmenter):
    """Translates a scan of any modality, and labels it from the scan and the translation together.

    A scan that is of the translator's target modality already is translated too.

    Parameters
    ----------
    model : Model
        A segmenter that was trained by `JointSegmenterObjective`. Its network's channels are those
        of the scan, then those of the translation. The setting ``translator`` of its config names
        the model that translates, which is the default model where the config names none.
    resources : Resources
        Batch size and device, of the segmenter and of the translator.
    """

    model_settings = (*NetworkSegmenter.model_settings, "translator")

    def __init__(self, model: Model, resources: Resources | None = None) -> None:
        super().__init__(model, resources)
        self.modality = None  # any

    @staticmethod
    def build(config: ModelConfig) -> SegmentationNetwork:
        """The network of a config, with fresh weights."""
        return SegmentationNetwork(
            NetworkSettings.model_validate(config.network),
            len(config.labels),
            spatial_dims=config.context.spatial_dims,
            images=2 * config.context.images,
        )

    @cached_property
    def translator(self) -> NetworkTranslator:
        """What translates the scan.

        Raises
        ------
        UsageError
            No model of this name, or one of another target modality than the segmenter's.
        """
        from chiasm.methods.load import load_translator

        name = self.model.config.settings.get("translator", DEFAULT_MODEL)
        found: Any = load_translator(name, resources=self.resources)
        made, known = found.model.config.target, self.model.config.target
        if made != known:
            problem = f"makes {made}, which {self.name} does not know"
            raise UsageError(explain("translator", name, problem, f"a model of {known}"))
        return found

    def load(self) -> None:
        super().load()
        self.translator.model.module  # noqa: B018

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"translator": self.translator.model.fingerprint}

    def _inputs(
        self, volume: Volume, mask: np.ndarray, grid: GridSettings
    ) -> tuple[Prepared, np.ndarray, dict[str, Any]]:
        translation = self.translator.translate_canonical(volume, mask)
        prepared, translated, _ = super()._inputs(translation.volume, mask, grid)
        own = prepare_onto(volume, prepared, mask=mask).samples()
        facts = {"model": self.translator.model.name, **translation.record}
        return prepared, np.concatenate([own, translated], axis=1), {"translation": facts}


class JointSettings(AnyContrastSettings):
    """Settings of the training of a joint segmenter.

    Parameters
    ----------
    translator : str
        Name or folder of the model that will translate the scans. Training does not read it.
    """

    translator: str = DEFAULT_MODEL


class JointSegmenterObjective(SegmenterObjective):
    """Dice and cross-entropy on two images: the target under random contrast, and the target.

    The first stands for the scan and the second for its translation. Each is degraded on its own
    (bias field, noise, blur, mild gamma), so that either may show what the other has lost. Errors
    that a translator makes beyond these are not imitated, and the network does not learn to expect
    them.
    """

    method = "joint"
    any_contrast = True
    settings_class = JointSettings

    def seen(self, batch: Batch, generator: torch.Generator) -> Tensor:
        source = self.randomised(batch, generator).image
        target = degrade(batch.image, batch.mask, self.contrast, generator)
        return torch.cat([source, target], dim=1)


SEGMENTERS.add(
    "joint", "joint.joint:JointSegmenter", "A network that sees a scan beside its translation."
)
SEGMENTER_TRAININGS.add(
    "joint-segmenter",
    "joint.joint:JointSegmenterObjective",
    "A segmenter of any modality that sees a scan beside its translation.",
)
