"""A model of slices as one function of a volume, in TorchScript."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chiasm.export.step import Step
from chiasm.image.context import PLANES
from chiasm.methods.regression.intensity_mapping import measured_mapping
from chiasm.models import Model


class _Measured(nn.Module):
    """`measured_mapping` with a number of nodes."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return measured_mapping(source, target, self.nodes)


class WholeVolume(nn.Module):
    """Runs a traced step on all slices of a volume and stacks what it makes.

    The mean of several planes is taken, and an intensity mapping is measured, as
    `chiasm.methods.regression` does it. The foreground is where the volume is above 0.

    Parameters
    ----------
    step : Module
        A traced `Step`.
    axes : list of int
        The axes along which slices are stacked, one for each plane; -1 alone for a network of
        volumes.
    neighbours, batch : int
        Slices on either side that the step sees, and slices at once.
    nodes, iterations : int
        Of the intensity mapping; 0 and 1 without one.
    """

    def __init__(
        self, step: nn.Module, axes: list[int], neighbours: int, batch: int, nodes: int,
        iterations: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.step, self.axes, self.neighbours, self.batch = step, axes, neighbours, batch
        self.nodes, self.iterations = max(nodes, 1), iterations
        voxels = torch.rand((2, 1, 64))
        self.measured = torch.jit.trace(_Measured(max(nodes, 2)), (voxels[0], voxels[1]))

    def forward(self, image: Tensor) -> Tensor:
        """(1, 1, X, Y, Z) in [0, 1] → (1, channels, X, Y, Z)."""
        mapping = torch.full((1, self.nodes), 0.5, device=image.device)
        if self.axes[0] < 0:
            return self.step(image, mapping)
        volume = image[0, 0]
        inside = volume > 0
        if bool(inside.any()):
            for _ in range(self.iterations - 1):
                made = self.plane(volume, self.axes[0], mapping)[0]
                mapping = self.measured(volume[inside][None], made[inside][None])
        total = self.plane(volume, self.axes[0], mapping)
        for axis in self.axes[1:]:
            total = total + self.plane(volume, axis, mapping)
        return (total / len(self.axes))[None]

    def plane(self, volume: Tensor, axis: int, mapping: Tensor) -> Tensor:
        """The results of slices along one axis: (channels, X, Y, Z)."""
        slices = volume.movedim(axis, 0)
        count, reach = slices.shape[0], self.neighbours
        made: list[Tensor] = []
        for first in range(0, count, self.batch):
            which = torch.arange(first, min(first + self.batch, count), device=volume.device)
            around = torch.arange(-reach, reach + 1, device=volume.device)
            index = (which[:, None] + around[None]).clamp(0, count - 1)
            made.append(self.step(slices[index], mapping))
        return torch.cat(made).movedim(0, 1).movedim(1, 1 + axis)


def of_volumes(model: Model, step: Step, traced: nn.Module, batch: int = 8) -> nn.Module:
    """The traced step of a model as a scripted `WholeVolume`."""
    config = model.config
    planes = config.settings.get("inference_planes")
    names = [*PLANES] if planes == "orthogonal" else [planes] if planes else []
    own = [config.grid.across(name).slice_axis for name in names] or [config.grid.slice_axis]
    axes: list[int] = [-1] if config.context.kind == "3d" else [int(one) for one in own]
    whole = WholeVolume(
        traced, axes, config.context.neighbours, batch, step.nodes, step.iterations
    ).eval()
    return torch.jit.script(whole)  # type: ignore[no-any-return]
