"""From latent to latent, by the source's own U-Net; every one of them makes all targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from chiasm.networks.unet import unet

# BasicUNet halves four times. Of the voxels along each axis that leaves one at the coarsest level;
# two, where norms learn from one sample alone.
_LEAST, _LEAST_ALONE = 16, 32


class SourceUNets(nn.Module):
    """A U-Net for each source modality, and one for any other; each makes every target at once.

    What an intensity means depends on the modality it was seen in, which a network of its own need
    not find out.

    Parameters
    ----------
    spatial_dims, modalities, latent : int
        ``latent`` channels go in and come out.
    features : sequence of six int
        Of `monai.networks.nets.BasicUNet`: of its five levels, and of the last one on the way up.
    norm : str
        MONAI's name. Instances lose the intensities' level, which batches keep.
    """

    tells_sources_apart = True

    def __init__(
        self,
        spatial_dims: int,
        modalities: int,
        latent: int,
        *,
        features: Sequence[int] = (32, 32, 32, 32, 32, 32),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if len(features) != 6 or min(*features, modalities) < 1:
            raise ValueError(f"features: {list(features)} are not six counts of at least 1")
        self.modalities = modalities
        self.networks = nn.ModuleList(
            unet(spatial_dims, latent, modalities * latent, features=features, norm=norm)
            for _ in range(modalities + 1)
        )

    def forward(self, z: Tensor, which: Tensor, source: Sequence[int]) -> Tensor:
        """A latent like the target's, of the size of z.

        Parameters
        ----------
        z : Tensor, shape (B, latent, \\*spatial)
            The source's latent.
        which : Tensor, shape (B,)
            Target modality.
        source : sequence of B int
            Source modality; ``modalities`` stands for one that is none of them.
        """
        return self.every(z, source)[torch.arange(len(z), device=z.device), which]

    def every(self, z: Tensor, source: Sequence[int]) -> Tensor:
        """Latents like those of all targets: (B, modalities, latent, \\*spatial)."""
        groups: dict[int, list[int]] = {}
        for k, one in enumerate(source):
            groups.setdefault(one, []).append(k)
        made = [self._made(self.networks[one], z[places]) for one, places in groups.items()]
        order = [k for places in groups.values() for k in places]
        whole = torch.cat(made)[sorted(range(len(z)), key=order.__getitem__)]
        return whole.unflatten(1, (self.modalities, z.shape[1]))

    def _made(self, network: nn.Module, z: Tensor) -> Tensor:
        """By a network that needs a least size."""
        spatial = z.shape[2:]
        least = _LEAST_ALONE if self.training and len(z) == 1 else _LEAST
        lacking = [max(0, least - size) for size in reversed(spatial)]
        if any(lacking):
            z = functional.pad(z, [one for size in lacking for one in (0, size)], "replicate")
        return network(z)[(..., *(slice(size) for size in spatial))]
