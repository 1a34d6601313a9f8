"""The pool of generated images that critics of CycleGAN are shown (Shrivastava et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """The last images of which each was replaced with probability ½ a draw.

    A module, so that its images are in a training's checkpoint.

    Parameters
    ----------
    capacity : int
        Images that it holds, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.images: list[Tensor] = []
        self._next: list[Tensor] = []

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What the critic is shown in place of these images, (B, C, \\*spatial).

        While there is room, the images themselves, which are stored. Then for each, with
        probability ½, a stored one, whose place it takes; else itself.

        The pool changes at `commit`: an iteration that is broken off leaves it as it was.
        """
        stored, shown = list(self.images), []
        for image in images.detach():
            if len(stored) < self.capacity:
                stored.append(image)
                shown.append(image)
            elif torch.rand((), generator=generator) < 0.5:
                place = int(torch.randint(self.capacity, (), generator=generator))
                shown.append(stored[place].to(image.device))
                stored[place] = image
            else:
                shown.append(image)
        self._next = stored
        return torch.stack(shown)

    def commit(self) -> None:
        """Take over the last draw's changes."""
        self.images = self._next

    def get_extra_state(self) -> Tensor:
        return torch.stack(self.images) if self.images else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        self.images = self._next = list(state)
