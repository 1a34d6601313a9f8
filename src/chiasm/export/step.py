"""The network of a model as one function of arrays, which can be traced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chiasm.errors import UsageError, explain
from chiasm.methods.regression.network import RegressionNetwork
from chiasm.models import Model
from chiasm.segmenters.network import SegmentationNetwork


class Step(nn.Module):
    """What a network makes of one batch of its inputs.

    A translator gives the image, and the expected error if it learned it. A segmenter gives the
    probability of each label.

    Parameters
    ----------
    model : Model
        Its network runs once for each input.

    Raises
    ------
    UsageError
        The model runs its network in several steps.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        module = model.module
        if not isinstance(module, RegressionNetwork | SegmentationNetwork):
            problem = f"runs the method {model.config.method}, which has several steps"
            legal = "a segmenter, or a translator that runs its network once"
            raise UsageError(explain("MODEL", model.name, problem, legal))
        self.module = module.cpu()
        mapping = getattr(module, "intensity_mapping", None)
        self.nodes = 0 if mapping is None else mapping.nodes
        self.iterations = 1 if mapping is None else mapping.iterations
        self.eval()

    @property
    def segments(self) -> bool:
        """Whether the model is a segmenter."""
        return isinstance(self.module, SegmentationNetwork)

    def forward(self, image: Tensor, mapping: Tensor) -> Tensor:
        """(B, images, \\*spatial) in [0, 1] → (B, channels, \\*spatial) in [0, 1].

        ``mapping`` (1, nodes) is the intensity mapping of a translator that has one
        (`chiasm.methods.regression.intensity_mapping`). It is 0.5 everywhere if it is unknown.
        """
        if isinstance(self.module, SegmentationNetwork):
            return self.module(image).softmax(1)
        return self.module(image, None, mapping if self.nodes else None).clamp(0, 1)


class OneInput(nn.Module):
    """A step of a model without an intensity mapping, as a function of the image alone."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """As `Step.forward`."""
        return self.step(image, torch.zeros((1, 1)))
