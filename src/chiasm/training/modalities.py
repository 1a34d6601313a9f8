"""Images of several modalities of the same subjects, for methods that go from any to any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chiasm.progress import progress
from chiasm.training.data import Batch, Samples


class AnyToAnySamples(Samples):
    """Samples of subjects with all modalities; each draws its target and another as its source.

    Modalities are counted in the order of the settings: the target first, then the sources.
    """

    # (N, modalities, channels, *spatial / factor), see `encode`, and what made them.
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
        # Not held twice.
        self.images, self.masks = self.every[:, 0], self.every_mask[:, 0]
        self.sources = self.source_masks = None

    def _drawn(self, which: Tensor, rng: np.random.Generator) -> Batch:
        count = self.every.shape[1]
        target = rng.integers(0, count, len(which))
        source = (target + rng.integers(1, count, len(which))) % count
        return self.pick(which, torch.from_numpy(target), torch.from_numpy(source))

    def pick(self, which: Tensor, target: Tensor, source: Tensor) -> Batch:
        """The samples ``which`` with these modalities, all of shape (B,)."""
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
        """Give all batches from now on the latents of their images; they are computed once.

        Nothing is done again by an encoder of the same ``name``.

        Parameters
        ----------
        encoder : callable
            (B, 1, \\*spatial) in [0, 1] → (B, channels, \\*spatial / factor), of about unit
            range: latents are kept in half precision.
        """
        if self.latents is not None and self.encoded_by == name:
            return
        self.forget_latents()
        middle = self.every[:, :, self.every.shape[2] // 2]
        # One by one: of volumes, all at once would take too much memory.
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
        """Batches hold images alone again."""
        self.latents = self.mirrored = None
        self.encoded_by = ""
