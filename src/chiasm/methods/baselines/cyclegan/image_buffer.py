"""A buffer of generated images for the critics of CycleGAN (Shrivastava et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageBuffer(nn.Module):
    """A buffer of generated images.

    It is a torch module, so that a checkpoint holds its images.

    Parameters
    ----------
    capacity : int
        The number of images that it can hold, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.images: list[Tensor] = []
        self._next: list[Tensor] = []

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images that the critic sees instead of these, (B, C, \\*spatial).

        While the buffer has room, each image is stored and returned. Afterwards, with probability
        ½, a stored image is returned and replaced by the new one; otherwise the new image is
        returned.

        The buffer changes only at `commit`, so an interrupted iteration leaves it as it was.
        """
        stored, shown = list(self.images), []
        for image in images.detach():
            if len(stored) < self.capacity:
                stored.append(image)
                shown.append(image)
            elif torch.rand((), generator=generator) < 0.5:
                index = int(torch.randint(self.capacity, (), generator=generator))
                shown.append(stored[index].to(image.device))
                stored[index] = image
            else:
                shown.append(image)
        self._next = stored
        return torch.stack(shown)

    def commit(self) -> None:
        """Store the changes of the last draw."""
        self.images = self._next

    def get_extra_state(self) -> Tensor:
        return torch.stack(self.images) if self.images else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        self.images = self._next = list(state)
