"""A latent translator with one U-Net for each source modality."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from chiasm.networks.unet import unet

# BasicUNet halves the size four times, so 16 voxels along an axis leave one at the coarsest level.
# Two are needed in training with one sample, where the norms have no other values to learn from.
_LEAST, _LEAST_ALONE = 16, 32


class SourceUNets(nn.Module):
    """One U-Net for each source modality, and one for any other. Each makes all targets at once.

    The meaning of an intensity depends on the source modality. A network for one modality need not
    find out which one it is.

    Parameters
    ----------
    spatial_dims, modalities, latent : int
        ``latent`` is the number of channels of the input and of each output.
    features : sequence of six int
        Channels of `monai.networks.nets.BasicUNet`: of its five levels, and of the last decoder
        level.
    norm : str
        MONAI's name of the normalisation. Instance normalisation loses the level of the
        intensities, and batch normalisation keeps it.

    Raises
    ------
    ValueError
        ``features`` does not hold six numbers of at least 1.
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

    def forward(self, z: Tensor, target_index: Tensor, source_index: Sequence[int]) -> Tensor:
        """The estimated latent of the target, of the shape of z.

        Parameters
        ----------
        z : Tensor, shape (B, latent, \\*spatial)
            The source's latent.
        target_index : Tensor, shape (B,)
            The index of the target modality.
        source_index : sequence of B int
            The index of the source modality; ``modalities`` stands for any other modality.
        """
        return self.every(z, source_index)[torch.arange(len(z), device=z.device), target_index]

    def every(self, z: Tensor, source_index: Sequence[int]) -> Tensor:
        """The estimated latents of all targets: (B, modalities, latent, \\*spatial)."""
        groups: dict[int, list[int]] = {}
        for k, one in enumerate(source_index):
            groups.setdefault(one, []).append(k)
        made = [self._made(self.networks[one], z[indices]) for one, indices in groups.items()]
        order = [k for indices in groups.values() for k in indices]
        whole = torch.cat(made)[sorted(range(len(z)), key=order.__getitem__)]
        return whole.unflatten(1, (self.modalities, z.shape[1]))

    def _made(self, network: nn.Module, z: Tensor) -> Tensor:
        """The network's output; an input smaller than the network allows is padded."""
        spatial = z.shape[2:]
        least = _LEAST_ALONE if self.training and len(z) == 1 else _LEAST
        lacking = [max(0, least - size) for size in reversed(spatial)]
        if any(lacking):
            z = functional.pad(z, [one for size in lacking for one in (0, size)], "replicate")
        return network(z)[(..., *(slice(size) for size in spatial))]
