"""Training samples for methods that translate each modality to each other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chiasm.machine.progress import progress
from chiasm.training.batch import Batch
from chiasm.training.data import Samples


class AnyToAnySamples(Samples):
    """Samples of subjects that have all modalities. Each draws a target and another as its source.

    The modalities have the order of the settings: the target comes first, then the sources.
    """

    # (N, modalities, channels, *spatial / factor), and the name of their encoder, see `encode`.
    latents: Tensor | None = None
    mirrored: Tensor | None = None
    encoded_by: str = ""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        assert self.sources is not None  # the method is paired
        assert self.source_masks is not None
        assert self.source_populations is not None
        # (N, modalities, ...)
        self.every = torch.cat([self.images[:, None], self.sources], dim=1)
        self.every_mask = torch.cat([self.masks[:, None], self.source_masks], dim=1)
        first = self.populations[:, None]
        self.every_population = torch.cat([first, self.source_populations], dim=1)
        # The images are not held twice.
        self.images, self.masks = self.every[:, 0], self.every_mask[:, 0]
        self.sources = self.source_masks = None

    def _drawn(self, which: Tensor, rng: np.random.Generator) -> Batch:
        count = self.every.shape[1]
        target = rng.integers(0, count, len(which))
        source = (target + rng.integers(1, count, len(which))) % count
        return self.pick(which, torch.from_numpy(target), torch.from_numpy(source))

    def pick(self, which: Tensor, target: Tensor, source: Tensor) -> Batch:
        """The samples ``which`` with these target and source indices, all of shape (B,)."""
        return Batch(
            image=self.every[which, target],
            mask=self.every_mask[which, target],
            population=self.every_population[which, target],
            source=self.every[which, source],
            source_mask=self.every_mask[which, source],
            modality=target,
            source_modality=source,
            every=self.every[which, :, self.every.shape[2] // 2],
            latents=None if self.latents is None else self.latents[which],
            mirrored=None if self.mirrored is None else self.mirrored[which],
        )

    def encode(self, encoder: Callable[[Tensor], Tensor], name: str) -> None:
        """Compute the latents of all images once; all later batches hold them.

        Parameters
        ----------
        encoder : callable
            (B, 1, \\*spatial) in [0, 1] → (B, channels, \\*spatial / factor). The latents are kept
            in half precision, so their values should be about 1.
        name : str
            A name of the encoder. Nothing is done if the latents are already those of this name.
        """
        if self.latents is not None and self.encoded_by == name:
            return
        self.forget_latents()
        middle = self.every[:, :, self.every.shape[2] // 2]
        # Volumes are encoded one by one, because all at once would take too much memory.
        together = 1 if middle.ndim > 4 else len(middle[0])

        def latents(images: Tensor) -> Tensor:
            return torch.cat([encoder(x).half().cpu() for x in images.split(together)])

        with progress("encode", len(middle)) as advance, torch.no_grad():
            for index, one in enumerate(middle):
                made = latents(one[:, None]), latents(one[:, None].flip(2)).flip(2)
                if self.latents is None or self.mirrored is None:
                    shape = (len(middle), *made[0].shape)
                    self.latents, self.mirrored = (made[0].new_empty(shape) for _ in range(2))
                self.latents[index], self.mirrored[index] = made
                advance(1)
        self.encoded_by = name

    def forget_latents(self) -> None:
        """Delete the latents, so that later batches hold images alone."""
        self.latents = self.mirrored = None
        self.encoded_by = ""
