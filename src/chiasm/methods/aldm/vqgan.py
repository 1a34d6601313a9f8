"""The vector-quantised autoencoder of a VQ-GAN (Esser et al., CVPR 2021), from MONAI's VQVAE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.networks.layers.vector_quantizer import EMAQuantizer, VectorQuantizer
from monai.networks.nets import VQVAE
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional

from chiasm.methods.aldm.wavelet_start import begin_as_wavelets

# The number of latents that are compared with all codes at once; it limits the memory.
_CHUNK = 1024
# Up to this many channels, a tree finds the closest code faster than a matrix product.
_TREE_CHANNELS = 8
# A code that is used less than this share of the mean use counts as dead.
_DEAD = 0.01
# MONAI's order: stride, kernel, dilation, padding; for the way up, also the output padding.
_DOWN, _UP = (2, 4, 1, 1), (2, 4, 1, 1, 0)


class Codebook(EMAQuantizer):
    """MONAI's codebook of moving averages, adapted to volumes.

    MONAI's class holds one-hot rows of all latents × codes, which are gigabytes for a volume. This
    class does not. A code that no latent is close to is moved to one of the latents that are
    farthest from their codes, so that the whole codebook is used from the first iteration on. This
    is the random restart of Dhariwal et al. (2020) without a random draw.
    """

    def nearest(self, flat: Tensor) -> Tensor:
        """Latents (N, C) → the index of the closest code, (N,)."""
        codes = self.embedding.weight
        if _suits_tree(flat) and _suits_tree(codes.detach()):
            tree = cKDTree(codes.detach().numpy())
            _, indices = tree.query(flat.numpy(), workers=torch.get_num_threads())
            return torch.from_numpy(np.asarray(indices, dtype=np.int64))
        half = codes.square().sum(1) / 2
        return torch.cat([(half - part @ codes.T).argmin(1) for part in flat.split(_CHUNK)])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, \\*spatial) → quantised latents, commitment loss, code indices (B, \\*spatial).

        Gradients pass straight through the quantisation.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs.float()
            spatial = (len(inputs), *inputs.shape[2:])
            flat = inputs.detach().movedim(1, -1).flatten(0, -2)
            indices = self.nearest(flat)
            quantised = self.embedding(indices).unflatten(0, spatial).movedim(-1, 1)
            if self.training:
                self._learn(flat, indices)
            loss = self.commitment_cost * functional.mse_loss(quantised.detach(), inputs)
            return inputs + (quantised - inputs).detach(), loss, indices.unflatten(0, spatial)

    @torch.no_grad()
    def _learn(self, flat: Tensor, indices: Tensor) -> None:
        count = torch.bincount(indices, minlength=self.num_embeddings).to(flat)
        total = torch.zeros_like(self.ema_w).index_add_(0, indices, flat)
        if self.ddp_sync:
            self.distributed_synchronization(count, total)
        self.ema_cluster_size.lerp_(count, 1 - self.decay)
        self.ema_w.lerp_(total, 1 - self.decay)
        used = self.ema_cluster_size
        dead = (used < _DEAD * used.sum() / self.num_embeddings).nonzero().flatten()
        if len(dead):
            distance = (flat - self.embedding.weight[indices]).square().sum(1)
            # Some latents are skipped, because the farthest ones are often alike.
            apart = max(1, min(8, len(flat) // len(dead)))
            farthest = distance.argsort(descending=True)[: apart * len(dead) : apart]
            dead = dead[: len(farthest)]
            average = used.sum() / self.num_embeddings
            self.ema_w[dead] = flat[farthest] * average
            self.ema_cluster_size[dead] = average
        self.embedding.weight.copy_(
            self.ema_w / self.ema_cluster_size.clamp_min(self.epsilon)[:, None]
        )


def _suits_tree(points: Tensor) -> bool:
    """Whether a tree can be used: few channels, on the CPU, finite, and not a fake tensor."""
    plain = type(points) is Tensor and points.device.type == "cpu"
    return plain and points.shape[1] <= _TREE_CHANNELS and bool(points.isfinite().all())


class VQGAN(nn.Module):
    """Encoder, codebook and decoder. Every level halves the size.

    The first weights make a wavelet transform (`chiasm.methods.aldm.wavelet_start`), if every level
    has at least two channels and the numbers of input and output channels are equal.

    Parameters
    ----------
    spatial_dims, in_channels, out_channels : int
    channels : sequence of int
        Channels of the levels, finest level first. ``factor`` is 2 to the number of levels.
    residual_layers : int
        Residual units of each level.
    codes, latent : int
        The number of codes, and the number of channels of each code.
    commitment, decay : float
        β of the commitment loss, and the decay of the codes' moving averages.

    Raises
    ------
    ValueError
        A number is less than 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = (64, 64),
        residual_layers: int = 1,
        codes: int = 8192,
        latent: int = 4,
        commitment: float = 0.25,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        if not channels or min(*channels, residual_layers, codes, latent) < 1:
            raise ValueError("channels, residual_layers, codes and latent must be at least 1")
        self.factor, self.latent = 2 ** len(channels), latent
        self.divisible_by = self.factor
        self.network = VQVAE(
            spatial_dims,
            in_channels,
            out_channels,
            channels=channels,
            num_res_layers=residual_layers,
            num_res_channels=channels,
            downsample_parameters=(_DOWN,) * len(channels),
            upsample_parameters=(_UP,) * len(channels),
            num_embeddings=1,
            embedding_dim=latent,
        )
        if min(channels) > 1 and in_channels == out_channels:
            begin_as_wavelets(self.network, channels)
        codebook = Codebook(
            spatial_dims, codes, latent, commitment_cost=commitment, decay=decay, ddp_sync=True
        )
        codebook.ema_w.zero_()  # otherwise the first averages would contain random codes
        self.network.quantizer = VectorQuantizer(codebook)

    @property
    def codebook(self) -> Codebook:
        """The codebook."""
        return self.network.quantizer.quantizer  # type: ignore[return-value]

    def encode(self, image: Tensor) -> Tensor:
        """(B, in_channels, \\*spatial) → (B, latent, \\*spatial / factor), not quantised."""
        return self.network.encode(image).float()

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The closest codes and the commitment loss; gradients pass straight through."""
        quantised, loss, _ = self.codebook(z)
        return quantised, loss

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent, \\*spatial / factor), quantised or not → (B, out_channels, \\*spatial)."""
        return self.network.decode(z).float()

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Encode, quantise and decode; ``t`` is ignored."""
        return self.decode(self.quantise(self.encode(x))[0])
